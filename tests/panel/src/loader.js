// Loads plugins as Grafana does: SystemJS with its AMD extra, packages shared under `package:NAME`, and
// fetched AMD code wrapped so that it calls a `define` of its own rather than one of the page.
import 'systemjs/dist/system.js';
import 'systemjs/dist/extras/named-register.js';
import 'systemjs/dist/extras/amd.js';
import * as emotionCss from '@emotion/css';
import * as emotionReact from '@emotion/react';
import * as data from '@grafana/data';
import * as i18n from '@grafana/i18n';
import * as runtime from '@grafana/runtime';
import * as ui from '@grafana/ui';
import lodash from 'lodash';
import moment from 'moment';
import React from 'react';
import ReactDOM from 'react-dom';
import * as rxjs from 'rxjs';

const { System } = window;

/** Grafana loads plugins as scripts where it can, else it fetches and evaluates them; both ways are tested. */
const AS_SCRIPT = new URLSearchParams(location.search).get('load') === 'script';
window.__grafana_amd_define = window.define;
if (!AS_SCRIPT) {
  window.define = undefined;
}

const namespace = (module) => ({ ...module });
const whole = (module) => ({ default: module, __useDefault: true });
const SHARED = {
  '@emotion/css': namespace(emotionCss),
  '@emotion/react': namespace(emotionReact),
  '@grafana/data': namespace(data),
  '@grafana/i18n': namespace(i18n),
  '@grafana/runtime': namespace(runtime),
  '@grafana/ui': namespace(ui),
  lodash: whole(lodash),
  moment: whole(moment),
  react: whole(React),
  'react-dom': whole(ReactDOM),
  rxjs: namespace(rxjs),
};

const imports = {};
for (const [name, module] of Object.entries(SHARED)) {
  System.set(`package:${name}`, module);
  imports[name] = `package:${name}`;
}
System.addImportMap({ imports });

const prototype = System.constructor.prototype;
const systemFetch = prototype.fetch;
prototype.shouldFetch = () => !AS_SCRIPT;
prototype.fetch = async (url, options) => {
  const response = await systemFetch(url, options);
  const type = response.headers.get('content-type') ?? '';
  if (!/^(text|application)\/(x-)?javascript(;|$)/.test(type)) {
    return response;
  }
  const source = await response.text();
  const wrapped = `(function(define) {\n${source}\n})(window.__grafana_amd_define);`;
  return new Response(new Blob([wrapped], { type: 'text/javascript' }));
};

const plugins = new Map();

/** The panel plugin with this id, its metadata from its own plugin.json. */
export function importPanelPlugin(id) {
  if (!plugins.has(id)) {
    const folder = `/public/plugins/${id}`;
    const load = async () => {
      const meta = await (await fetch(`${folder}/plugin.json`)).json();
      const module = await System.import(`${location.origin}${folder}/module.js`);
      module.plugin.meta = { ...meta, module: `${folder}/module.js`, baseUrl: folder };
      loaded.set(id, module.plugin);
      return module.plugin;
    };
    plugins.set(id, load());
  }
  return plugins.get(id);
}

const loaded = new Map();
export const getPanelPluginFromCache = (id) => loaded.get(id);

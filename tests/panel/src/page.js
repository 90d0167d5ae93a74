// The page under test: a Grafana scene with one VizPanel that shows the plugin, driven from outside
// through `window.harness`.
import { createTheme, dateTime, EventBusSrv, LoadingState, ThemeContext, toDataFrame } from '@grafana/data';
import * as runtime from '@grafana/runtime';
import { EmbeddedScene, SceneDataNode, SceneFlexItem, SceneFlexLayout, SceneTimeRange, VizPanel } from '@grafana/scenes';
import { GlobalStyles } from '@grafana/ui';
import i18next from 'i18next';
import React from 'react';
import { initReactI18next } from 'react-i18next';
import { createRoot } from 'react-dom/client';
import { getPanelPluginFromCache, importPanelPlugin } from './loader.js';
import { query } from './prometheus.js';
import { fillRegistries } from './registries.js';

const PLUGIN = 'quoll-blastradius-panel';

fillRegistries();
runtime.setPluginImportUtils({ importPanelPlugin, getPanelPluginFromCache });
runtime.setEchoSrv({ flush() {}, addBackend() {}, addEvent() {} });
runtime.setAppEvents(new EventBusSrv());
runtime.setTemplateSrv({
  getVariables: () => [],
  replace: (text) => text ?? '',
  containsTemplate: () => false,
  updateTimeRange() {},
});

const parameters = new URLSearchParams(location.search);
const theme = createTheme({ colors: { mode: parameters.get('theme') ?? 'dark' } });
document.body.style.background = theme.colors.background.canvas;

const now = Date.now();
const range = { from: dateTime(now - 3_600_000), to: dateTime(now), raw: { from: 'now-1h', to: 'now' } };
const data = new SceneDataNode({ data: { state: LoadingState.Loading, series: [], timeRange: range } });
const panel = new VizPanel({
  title: 'Blast radius',
  pluginId: PLUGIN,
  options: {},
  fieldConfig: { defaults: {}, overrides: [] },
});
const item = new SceneFlexItem({ width: 960, height: 540, body: panel });
const scene = new EmbeddedScene({
  $timeRange: new SceneTimeRange({ from: 'now-1h', to: 'now' }),
  $data: data,
  body: new SceneFlexLayout({ children: [item] }),
});

let resize;
function App() {
  const [size, setSize] = React.useState({ width: 960, height: 540 });
  resize = setSize;
  const style = { ...size, display: 'flex' };
  return React.createElement(
    ThemeContext.Provider,
    { value: theme },
    React.createElement(GlobalStyles),
    React.createElement('div', { id: 'panel', style }, React.createElement(scene.Component, { model: scene })),
  );
}

/** As Grafana's core does it: the plugin's own file for the user's language, before the plugin is loaded. */
const language = parameters.get('language') ?? 'en-US';
const translations = await (await fetch(`/public/plugins/${PLUGIN}/locales/${language}/${PLUGIN}.json`)).json();
await i18next.use(initReactI18next).init({
  lng: language,
  fallbackLng: 'en-US',
  returnEmptyString: false,
  resources: { [language]: { [PLUGIN]: translations } },
});
createRoot(document.getElementById('root')).render(React.createElement(App));

const element = () => document.querySelector('[data-testid="quoll-blast-radius"]');
let given = 0;
const give = (series, extra) => {
  given += 1;
  const request = { requestId: `given ${given}` };
  data.setState({ data: { state: LoadingState.Done, series, timeRange: range, request, ...extra } });
};

window.harness = {
  /** Runs the queries and gives the panel their frames. */
  async show(targets) {
    const series = await query(targets, range);
    give(series);
    return series.length;
  },
  /** Gives the panel frames as they are, in Grafana's JSON of frames. */
  frames(frames, extra = {}) {
    give(frames.map(toDataFrame), extra);
  },
  fieldConfig: (fieldConfig) => panel.onFieldConfigChange(fieldConfig, true),
  saved: () => panel.state.options,
  /** The plugin itself, for what Grafana asks it outside of panels. */
  plugin: () => getPanelPluginFromCache(PLUGIN),
  /** Whether the panel has drawn what it was given last. */
  shown: () => element()?.quollShown === `given ${given}`,
  drawn: () => element()?.quollDrawn?.(),
  report: () => element()?.quollReport?.(),
  size(width, height) {
    item.setState({ width, height });
    resize({ width, height });
  },
  options: (options) => panel.onOptionsChange(options),
};

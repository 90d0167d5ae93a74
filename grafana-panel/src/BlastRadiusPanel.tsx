import { LoadingState, type PanelProps, ThemeContext } from '@grafana/data';
import React, { useContext, useEffect, useLayoutEffect, useRef, useState } from 'react';
import { framesToSamples } from './frames';
import type { Options } from './options';
import { moduleFolder } from './place';
import type { Drawn } from './drawn';
import type { Summary } from './report';
import { View } from './view/view';
import { createPanel } from './wasm';

const EMPTY_HINT =
  'The queries return none of the metrics that Quoll’s scorer writes (quoll_anomaly_score, ' +
  'quoll_edge_strength, …). Use the queries of the provided dashboard, and check that the scorer runs.';

/** The panel's own element offers what was painted, to tests and to tools in the page. */
export interface BlastRadiusElement extends HTMLDivElement {
  quollDrawn?: () => Drawn;
  quollReport?: () => Summary | undefined;
}

export function BlastRadiusPanel({ data, width, height, options }: PanelProps<Options>): React.ReactElement {
  const theme = useContext(ThemeContext);
  const host = useRef<BlastRadiusElement>(null);
  const [view, setView] = useState<View>();
  const [error, setError] = useState<string>();

  useEffect(() => {
    let gone = false;
    let made: View | undefined;
    createPanel(`${moduleFolder()}quoll_panel_wasm_bg.wasm`)
      .then((panel) => {
        if (gone || !host.current) {
          panel.free();
          return;
        }
        made = new View(host.current, panel);
        host.current.quollDrawn = () => (made as View).drawn();
        host.current.quollReport = () => (made as View).report();
        setView(made);
      })
      .catch((reason: unknown) => setError(reason instanceof Error ? reason.message : String(reason)));
    return () => {
      gone = true;
      made?.destroy();
    };
  }, []);

  useLayoutEffect(() => {
    view?.setTheme({
      dark: theme.isDark,
      background: theme.colors.background.primary,
      raised: theme.colors.background.secondary,
      text: theme.colors.text.primary,
      muted: theme.colors.text.secondary,
    });
  }, [view, theme]);

  useLayoutEffect(() => {
    view?.setOptions({ ...options, emptyHint: EMPTY_HINT });
  }, [view, options]);

  useLayoutEffect(() => view?.resize(width, height), [view, width, height]);

  const loading = data.state === LoadingState.Loading && data.series.length === 0;
  useLayoutEffect(() => {
    // While a query runs Grafana may hand out nothing: what is shown stays.
    if (!loading) {
      view?.load(framesToSamples(data.series));
    }
  }, [view, data.series, loading]);

  if (error) {
    return (
      <div role="alert" style={{ padding: 16 }}>
        The panel’s WebAssembly module could not be loaded: {error}. Under a strict Content-Security-Policy,
        script-src needs &apos;wasm-unsafe-eval&apos;.
      </div>
    );
  }
  return <div ref={host} data-testid="quoll-blast-radius" style={{ width, height }} />;
}

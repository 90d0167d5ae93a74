import { LoadingState, type PanelProps, ThemeContext } from '@grafana/data';
import { Portal, VizTooltipContainer } from '@grafana/ui';
import React, { useContext, useEffect, useLayoutEffect, useMemo, useRef, useState } from 'react';
import type { Drawn } from './drawn';
import { readFrames } from './frames';
import { complete, incidentUrl, type Options } from './options';
import { moduleFolder } from './place';
import type { Summary } from './report';
import { t } from './text';
import type { Tip } from './view/tips';
import { View } from './view/view';
import { createPanel } from './wasm';

/** Where Grafana serves its icons from; it says so itself, as it may be another host. */
const ICONS = `${(window as { __grafana_public_path__?: string }).__grafana_public_path__ ?? 'public/'}build/img/icons/`;

/** The panel's own element offers what was painted, to tests and to tools in the page. */
export interface BlastRadiusElement extends HTMLDivElement {
  quollDrawn?: () => Drawn;
  quollReport?: () => Summary | undefined;
  /** Whose answer is shown. */
  quollShown?: string | undefined;
}

export function BlastRadiusPanel(props: PanelProps<Options>): React.ReactElement {
  const { data, width, height, onOptionsChange } = props;
  const options = useMemo(() => complete(props.options), [props.options]);
  const theme = useContext(ThemeContext);
  const host = useRef<BlastRadiusElement>(null);
  const [view, setView] = useState<View>();
  const [error, setError] = useState<string>();
  const [tip, setTip] = useState<Tip>();
  const arranged = useRef<(arrangement: string) => void>(() => undefined);
  arranged.current = (arrangement) => onOptionsChange({ ...options, arrangement });

  useEffect(() => {
    let gone = false;
    let made: View | undefined;
    createPanel(`${moduleFolder()}quoll_panel_wasm_bg.wasm`)
      .then((panel) => {
        if (gone || !host.current) {
          panel.free();
          return;
        }
        const fresh = new View(host.current, panel);
        made = fresh;
        fresh.onTip = setTip;
        fresh.onArrange = (arrangement) => arranged.current(arrangement);
        host.current.quollDrawn = () => fresh.drawn();
        host.current.quollReport = () => fresh.report();
        setView(fresh);
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
    const { scorerUrl } = options;
    const linked = incidentUrl(scorerUrl, '') !== undefined;
    view?.setClustersAbove(options.clustersAbove);
    view?.setOptions({
      ...options,
      emptyHint: t(
        'panel.empty',
        'The queries return none of the metrics that Quoll’s scorer writes (quoll_anomaly_score, quoll_edge_strength, …), nor nodes and edges. Use the queries of the provided dashboard, and check that the scorer runs.',
      ),
      ...(linked ? { incidentUrl: (incident: string) => incidentUrl(scorerUrl, incident) ?? '' } : {}),
    });
    view?.restore(options.arrangement);
  }, [view, options]);

  useLayoutEffect(() => view?.resize(width, height), [view, width, height]);

  const loading = data.state === LoadingState.Loading && data.series.length === 0;
  const failed = data.errors?.[0]?.message ?? '';
  const mapping = JSON.stringify(options.mapping);
  // biome-ignore lint/correctness/useExhaustiveDependencies: the mapping is compared by what it says
  useLayoutEffect(() => {
    // While a query runs Grafana may hand out nothing: what is shown stays.
    if (view && !loading) {
      const input = readFrames(data.series, { mapping: options.mapping, theme, defaults: props.fieldConfig.defaults });
      const notes = failed === '' ? input.notes : [t('panel.failed', 'A query failed: {{failed}}', { failed }), ...input.notes];
      view.load(input.samples, { ...input, notes, icons: ICONS });
      if (host.current) {
        host.current.quollShown = data.request?.requestId;
      }
    }
  }, [view, data.series, loading, failed, mapping, theme, props.fieldConfig.defaults]);

  if (error) {
    return (
      <div role="alert" style={{ padding: 16 }}>
        {t(
          'panel.no-wasm',
          'The panel’s WebAssembly module could not be loaded: {{error}}. Under a strict Content-Security-Policy, script-src needs ‘wasm-unsafe-eval’.',
          { error },
        )}
      </div>
    );
  }
  return (
    <>
      <div ref={host} data-testid="quoll-blast-radius" style={{ width, height }} />
      {tip && (
        <Portal>
          <VizTooltipContainer position={{ x: tip.clientX, y: tip.clientY }} offset={{ x: 12, y: 12 }}>
            <div data-testid="quoll-tooltip" style={{ padding: 8 }}>
              <strong>{tip.title}</strong>
              {tip.lines.map((line) => (
                <div key={line}>{line}</div>
              ))}
            </div>
          </VizTooltipContainer>
        </Portal>
      )}
    </>
  );
}

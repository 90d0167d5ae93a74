import { FieldColorModeId, FieldConfigProperty, PanelPlugin } from '@grafana/data';
import { initPluginTranslations, t as grafanaT } from '@grafana/i18n';
import { BlastRadiusPanel } from './BlastRadiusPanel';
import { THRESHOLDS } from './colours';
import { defaults, migrate, type Options } from './options';
import { speak, t, type Values } from './text';

// Not awaited: Grafana has the translations before it loads this, and a module that is a promise is refused
// by some of its versions. What is filled in is text, never markup, and so needs no escaping.
const filled = (values?: Values): Record<string, unknown> => ({ ...values, interpolation: { escapeValue: false } });
const language = (tag: string): void =>
  speak({
    t: (id, english, values) => grafanaT(id, english, filled(values)),
    tn: (id, one, other, values) => grafanaT(id, '', { ...filled(values), defaultValue_one: one, defaultValue_other: other }),
    tag,
  });
language('en-US');
void initPluginTranslations('quoll-blastradius-panel').then(({ language: tag }) => language(tag));

export const plugin = new PanelPlugin<Options>(BlastRadiusPanel)
  .setNoPadding()
  .setMigrationHandler(migrate)
  .useFieldConfig({
    disableStandardOptions: [FieldConfigProperty.NoValue],
    standardOptions: {
      [FieldConfigProperty.Thresholds]: { defaultValue: THRESHOLDS },
      [FieldConfigProperty.Color]: {
        settings: { byValueSupport: true, bySeriesSupport: false, preferThresholdsMode: true },
        defaultValue: { mode: FieldColorModeId.Thresholds },
      },
    },
  })
  .setPanelOptions((builder) => {
    const shown = [t('options.shown', 'What is shown')];
    const nodes = [t('options.nodes', 'Nodes of another query')];
    const edges = [t('options.edges', 'Edges of another query')];
    const usual = t('options.usual', 'Field or label; empty for Grafana’s usual name');
    const field = (path: string, name: string, category: string[], placeholder: string): void => {
      builder.addTextInput({ path, name, category, description: usual, defaultValue: '', settings: { placeholder } });
    };
    builder
      .addBooleanSwitch({
        path: 'showCauses',
        name: t('options.causes', 'Probable causes'),
        description: t('options.causes-about', 'The ranked list beside the graph, where there is room'),
        category: shown,
        defaultValue: defaults.showCauses,
      })
      .addBooleanSwitch({
        path: 'showLegend',
        name: t('options.legend', 'Legend'),
        description: t('options.legend-about', 'What colours, rings and widths mean'),
        category: shown,
        defaultValue: defaults.showLegend,
      })
      .addBooleanSwitch({
        path: 'showToolbar',
        name: t('options.toolbar', 'Tools'),
        description: t('options.toolbar-about', 'Search, layout, filters and export above the graph'),
        category: shown,
        defaultValue: defaults.showToolbar,
      })
      .addBooleanSwitch({
        path: 'showTimeline',
        name: t('options.timeline', 'Time line'),
        description: t('options.timeline-about', 'Posteriors over the dashboard’s range, where a query gives them'),
        category: shown,
        defaultValue: defaults.showTimeline,
      })
      .addNumberInput({
        path: 'clustersAbove',
        name: t('options.clusters', 'Close namespaces above'),
        description: t('options.clusters-about', 'With more services than this, namespaces start closed'),
        category: shown,
        defaultValue: defaults.clustersAbove,
        settings: { min: 0, integer: true },
      })
      .addRadio({
        path: 'renderer',
        name: t('options.renderer', 'Painted by'),
        description: t('options.renderer-about', 'Automatic takes WebGL for many services where there is a GPU'),
        category: shown,
        defaultValue: defaults.renderer,
        settings: {
          options: [
            { value: 'auto', label: t('options.renderer-auto', 'Automatic') },
            { value: 'canvas', label: 'Canvas' },
            { value: 'webgl', label: 'WebGL' },
          ],
        },
      })
      .addTextInput({
        path: 'scorerUrl',
        name: t('options.scorer', 'Address of the scorer'),
        description: t('options.scorer-about', 'For links from incidents to their explanation'),
        category: shown,
        defaultValue: defaults.scorerUrl,
        settings: { placeholder: 'https://quoll.example.net:9467/' },
      })
      .addTextInput({
        path: 'mapping.nodesQuery',
        name: t('options.nodes-query', 'Query'),
        description: t('options.query-about', 'Its letter; empty for none'),
        category: nodes,
        defaultValue: '',
        settings: { placeholder: 'A' },
      });
    field('mapping.nodeId', t('options.node-id', 'Id'), nodes, 'id');
    field('mapping.nodeTitle', t('options.node-title', 'Title'), nodes, 'title');
    field('mapping.nodeNamespace', t('options.node-namespace', 'Namespace'), nodes, '');
    field('mapping.nodeScore', t('options.node-score', 'Anomaly score (above 1 is anomalous)'), nodes, '');
    builder.addTextInput({
      path: 'mapping.edgesQuery',
      name: t('options.edges-query', 'Query'),
      description: t('options.query-about', 'Its letter; empty for none'),
      category: edges,
      defaultValue: '',
      settings: { placeholder: 'B' },
    });
    field('mapping.edgeSource', t('options.edge-source', 'Source'), edges, 'source');
    field('mapping.edgeTarget', t('options.edge-target', 'Target'), edges, 'target');
    field('mapping.edgeRate', t('options.edge-rate', 'Requests per second'), edges, '');
    field('mapping.edgeErrors', t('options.edge-errors', 'Share of errors, 0 to 1'), edges, '');
    builder.addTextInput({
      path: 'arrangement',
      name: t('options.arrangement', 'Arrangement'),
      description: t(
        'options.arrangement-about',
        'Layout, open namespaces and pinned services, as arranged in the panel; empty starts afresh',
      ),
      category: shown,
      defaultValue: defaults.arrangement,
    });
  });

import { PanelPlugin } from '@grafana/data';
import { BlastRadiusPanel } from './BlastRadiusPanel';
import { defaults, type Options } from './options';

export const plugin = new PanelPlugin<Options>(BlastRadiusPanel).setPanelOptions((builder) =>
  builder
    .addBooleanSwitch({
      path: 'showCauses',
      name: 'Probable causes',
      description: 'The ranked list beside the graph, where there is room',
      defaultValue: defaults.showCauses,
    })
    .addBooleanSwitch({
      path: 'showLegend',
      name: 'Legend',
      description: 'What colours, rings and widths mean',
      defaultValue: defaults.showLegend,
    }),
);

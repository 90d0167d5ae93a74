/** Colours of Grafana's field configuration, and of data, as the WASM module takes them. */
import {
  type Field,
  type FieldConfig,
  FieldColorModeId,
  getDisplayProcessor,
  getFieldColorModeForField,
  type GrafanaTheme2,
  type Threshold,
  type ThresholdsConfig,
  ThresholdsMode,
} from '@grafana/data';
import type { ScaleLook } from './looks';

/** From which anomaly score on which colour, where nobody says otherwise; between them colours blend. */
export const THRESHOLDS: ThresholdsConfig = {
  mode: ThresholdsMode.Absolute,
  steps: [
    { value: Number.NEGATIVE_INFINITY, color: '#6fa87b' },
    { value: 1, color: '#f2b134' },
    { value: 2, color: '#f06a3a' },
    { value: 4, color: '#e02f44' },
  ],
};
/** What Grafana itself starts panels with; of no meaning for scores. */
const UNTOUCHED: ThresholdsConfig = {
  mode: ThresholdsMode.Absolute,
  steps: [
    { value: Number.NEGATIVE_INFINITY, color: 'green' },
    { value: 80, color: 'red' },
  ],
};
/** The range of colours, where the field names none: that of the panel's own scale. */
const SCORES = [0, 4] as const;

let pen: CanvasRenderingContext2D | null | undefined;

/** Any CSS colour or one of Grafana's names as `#rrggbb` or `rgba(..)`; undefined for anything else. */
export function cssColour(theme: GrafanaTheme2, name: unknown): string | undefined {
  if (typeof name !== 'string' || name.trim() === '') {
    return undefined;
  }
  pen ??= document.createElement('canvas').getContext('2d');
  if (!pen) {
    return undefined;
  }
  const colour = theme.visualization.getColorByName(name.trim());
  // What is no colour leaves the former one in place, whichever that was.
  const [one, two] = ['#000000', '#ffffff'].map((before) => {
    if (pen) {
      pen.fillStyle = before;
      pen.fillStyle = colour;
    }
    return String(pen?.fillStyle);
  });
  return one === two ? one : undefined;
}

const steps = (thresholds: ThresholdsConfig | undefined): string =>
  JSON.stringify([thresholds?.mode, thresholds?.steps.map(({ value, color }) => [Number.isFinite(value) ? value : null, color])]);
const OURS = steps(THRESHOLDS);
const GRAFANAS = steps(UNTOUCHED);

/** What of a field's configuration decides colours, to compare fields by. */
export function colourKey({ thresholds, color, min, max }: FieldConfig): string {
  return JSON.stringify([steps(thresholds), color?.mode, color?.fixedColor, min, max]);
}

function byValue(mode: string): boolean {
  return mode === FieldColorModeId.Thresholds || mode === FieldColorModeId.Fixed || mode.startsWith('continuous-');
}

/** The scale of a field's configuration; undefined where nobody has chosen one. */
export function scaleOf(field: Field, theme: GrafanaTheme2): ScaleLook | undefined {
  const { thresholds, color } = field.config;
  const [min, max] = [field.config.min ?? SCORES[0], field.config.max ?? SCORES[1]];
  const mode: string = color?.mode ?? FieldColorModeId.Thresholds;
  const stop = (value: number | null, name: string): Array<[number | null, string]> => {
    const colour = cssColour(theme, name);
    return colour === undefined ? [] : [[value, colour]];
  };
  if (!byValue(mode)) {
    return undefined;
  }
  if (mode === FieldColorModeId.Fixed) {
    return { stepped: 1, stops: stop(null, color?.fixedColor ?? '') };
  }
  if (mode === FieldColorModeId.Thresholds) {
    const chosen = steps(thresholds);
    if (!thresholds || chosen === OURS || chosen === GRAFANAS) {
      return undefined;
    }
    const share = thresholds.mode === ThresholdsMode.Percentage;
    const at = ({ value }: Threshold): number | null =>
      typeof value !== 'number' || !Number.isFinite(value) ? null : share ? min + ((max - min) * value) / 100 : value;
    return { stepped: 1, stops: thresholds.steps.flatMap((step) => stop(at(step), step.color)) };
  }
  const colours = getFieldColorModeForField(field).getColors?.(theme) ?? [];
  const last = Math.max(1, colours.length - 1);
  return { stepped: 0, stops: colours.flatMap((name, place) => stop(min + ((max - min) * place) / last, name)) };
}

/** The colour that a value mapping gives; undefined where none does. */
export function mappedColour(field: Field, row: number, theme: GrafanaTheme2): string | undefined {
  const mappings = field.config.mappings ?? [];
  if (mappings.length === 0 || !field.display) {
    return undefined;
  }
  const value: unknown = field.values[row];
  const without = getDisplayProcessor({ field: { ...field, config: { ...field.config, mappings: [] } }, theme });
  const [mapped, plain] = [field.display(value).color, without(value).color];
  return mapped === plain ? undefined : cssColour(theme, mapped);
}

/** The colour of a cell: a colour itself, or a number on its field's scale. */
export function cellColour(field: Field, row: number, theme: GrafanaTheme2): string | undefined {
  const value: unknown = field.values[row];
  return typeof value === 'number' ? cssColour(theme, field.display?.(value).color) : cssColour(theme, value);
}

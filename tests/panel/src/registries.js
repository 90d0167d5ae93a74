// Grafana's core fills these registries at start; its packages only declare them. Panels cannot have
// options or field configuration without, so the harness fills them with plain inputs.
import {
  booleanOverrideProcessor,
  dataLinksOverrideProcessor,
  displayNameOverrideProcessor,
  identityOverrideProcessor,
  numberOverrideProcessor,
  standardEditorsRegistry,
  standardFieldConfigEditorRegistry,
  standardTransformersRegistry,
  stringOverrideProcessor,
  thresholdsOverrideProcessor,
  unitOverrideProcessor,
  valueMappingsOverrideProcessor,
} from '@grafana/data';
import React from 'react';

const editor = ({ value, onChange }) =>
  React.createElement('input', { value: String(value ?? ''), onChange: (event) => onChange(event.target.value) });

const EDITORS =
  'text number slider boolean select radio color unit links mappings thresholds strings timezone stats-picker ' +
  'value-mappings fieldColor field-name multi-select dashboard-uid actions cell-options dimension';

const PROPERTIES = [
  ['unit', unitOverrideProcessor],
  ['min', numberOverrideProcessor],
  ['max', numberOverrideProcessor],
  ['decimals', numberOverrideProcessor],
  ['displayName', displayNameOverrideProcessor],
  ['color', identityOverrideProcessor, { mode: 'thresholds' }],
  ['noValue', stringOverrideProcessor],
  ['links', dataLinksOverrideProcessor],
  ['actions', identityOverrideProcessor],
  ['mappings', valueMappingsOverrideProcessor, []],
  ['thresholds', thresholdsOverrideProcessor, { mode: 'absolute', steps: [{ value: -Infinity, color: 'green' }] }],
  ['filterable', booleanOverrideProcessor],
  ['fieldMinMax', booleanOverrideProcessor],
];

export function fillRegistries() {
  standardEditorsRegistry.setInit(() => EDITORS.split(' ').map((id) => ({ id, name: id, editor })));
  standardFieldConfigEditorRegistry.setInit(() =>
    PROPERTIES.map(([id, process, defaultValue]) => ({
      id,
      path: id,
      name: id,
      description: '',
      editor,
      override: editor,
      process,
      defaultValue,
      settings: {},
      category: ['Standard options'],
      shouldApply: () => true,
    })),
  );
  standardTransformersRegistry.setInit(() => []);
}

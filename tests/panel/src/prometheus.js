// Prometheus's answers as Grafana's data source hands them to panels: the frames that Grafana's backend
// makes of them, then Grafana's own front-end transformation (time series or table).
import { transformV2 } from '@grafana/prometheus';
import { toDataQueryResponse } from '@grafana/runtime';

async function ask(path, parameters) {
  const response = await fetch(`/prometheus/api/v1/${path}?${new URLSearchParams(parameters)}`);
  const body = await response.json();
  if (body.status !== 'success') {
    throw new Error(`Prometheus: ${body.error}`);
  }
  return body.data.result;
}

/** One frame per series, as the backend's JSON. */
function backendFrames(result, refId, type, custom) {
  return result.map((series) => {
    const samples = series.values ?? [series.value];
    return {
      schema: {
        refId,
        meta: { type, typeVersion: [0, 1], custom },
        fields: [
          { name: 'Time', type: 'time', typeInfo: { frame: 'time.Time' } },
          { name: 'Value', type: 'number', typeInfo: { frame: 'float64' }, labels: series.metric },
        ],
      },
      data: { values: [samples.map((s) => Math.round(s[0] * 1000)), samples.map((s) => Number(s[1]))] },
    };
  });
}

/** Frames for targets `{ refId, expr, instant, format }`. The time line's range ends now and holds what this run has recorded: a minute by seconds. */
export async function query(targets, range) {
  const results = {};
  for (const { refId, expr, instant } of targets) {
    if (instant) {
      const result = await ask('query', { query: expr });
      results[refId] = { status: 200, frames: backendFrames(result, refId, 'numeric-multi', { resultType: 'vector' }) };
    } else {
      const end = Math.floor(Date.now() / 1000);
      const result = await ask('query_range', { query: expr, start: end - 60, end, step: 1 });
      results[refId] = { status: 200, frames: backendFrames(result, refId, 'timeseries-multi', { resultType: 'matrix' }) };
    }
  }
  const response = toDataQueryResponse({ data: { results } }, targets);
  return transformV2(response, { targets, range }, {}).data;
}

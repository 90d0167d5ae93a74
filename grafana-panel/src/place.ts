import amdModule from 'amd-module';

/** Where the plugin's files lie, with a closing slash; Grafana knows, as it loaded this module. */
export function moduleFolder(): string {
  const uri = amdModule?.uri;
  return uri ? uri.slice(0, uri.lastIndexOf('/') + 1) : 'public/plugins/quoll-blastradius-panel/';
}

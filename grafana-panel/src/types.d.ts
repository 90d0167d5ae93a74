/** Style sheets are bundled as text. */
declare module '*.css' {
  const text: string;
  export default text;
}

/**
 * The AMD module object of the plugin itself: its `uri` says where Grafana loaded it from, under any
 * sub-path or CDN.
 */
declare module 'amd-module' {
  const module: { uri?: string } | undefined;
  export default module;
}

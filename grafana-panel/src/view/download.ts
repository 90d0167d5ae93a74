/** Hands a file to the user; from the page's own memory, so that no policy about connections matters. */
export function download(name: string, content: Blob): void {
  const url = URL.createObjectURL(content);
  const link = document.createElement('a');
  link.href = url;
  link.download = name;
  link.click();
  // The browser has taken the content by the next turn.
  setTimeout(() => URL.revokeObjectURL(url), 1000);
}

/** Canvases of one size, the lowest first, upon their background, which is transparent on the page. */
export function asPng(canvases: HTMLCanvasElement[], background: string): Promise<Blob> {
  const copy = document.createElement('canvas');
  copy.width = canvases[0]?.width ?? 1;
  copy.height = canvases[0]?.height ?? 1;
  const context = copy.getContext('2d');
  if (context) {
    context.fillStyle = background;
    context.fillRect(0, 0, copy.width, copy.height);
    for (const canvas of canvases) {
      context.drawImage(canvas, 0, 0);
    }
  }
  return new Promise((resolve, reject) => {
    copy.toBlob((blob) => (blob ? resolve(blob) : reject(new Error('the picture could not be encoded'))), 'image/png');
  });
}

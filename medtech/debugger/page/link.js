// The state of the page in the fragment of an address, which a browser sends to nobody.

const PREFIX = '#state=';
const MAX_CHARACTERS = 16 * 1024 * 1024; // a small link can unpack to more than memory

/** The address of this page with a state in its fragment. */
export async function linkOf(state) {
  const packed = new Response(new Blob([JSON.stringify(state)]).stream().pipeThrough(new CompressionStream('deflate-raw')));
  const bytes = new Uint8Array(await packed.arrayBuffer());
  let binary = '';
  for (const byte of bytes) binary += String.fromCharCode(byte);
  const text = btoa(binary).replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '');
  return `${location.origin}${location.pathname}${PREFIX}${text}`;
}

/** The state of an address's fragment, null if it has none. Raises SyntaxError for one that is damaged. */
export async function stateOf(fragment) {
  if (!fragment.startsWith(PREFIX)) return null;
  try {
    const binary = atob(fragment.slice(PREFIX.length).replaceAll('-', '+').replaceAll('_', '/'));
    const bytes = Uint8Array.from(binary, (each) => each.charCodeAt(0));
    const reader = new Blob([bytes])
      .stream()
      .pipeThrough(new DecompressionStream('deflate-raw'))
      .pipeThrough(new TextDecoderStream())
      .getReader();
    let text = '';
    for (let piece = await reader.read(); !piece.done; piece = await reader.read()) {
      text += piece.value;
      if (text.length > MAX_CHARACTERS) throw new RangeError();
    }
    return JSON.parse(text);
  } catch {
    throw new SyntaxError('The link is damaged or too large. Ask for it again.');
  }
}

// `make page`: the editor of the debugger page as one file, with the licences of what it is made of.
import { mkdir, readFile, readdir, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

import { build } from 'esbuild';

const here = dirname(fileURLToPath(import.meta.url));
const folder = join(here, '../../medtech/debugger/page/bundle');

await rm(folder, { recursive: true, force: true });
await mkdir(folder, { recursive: true });
const { metafile } = await build({
  absWorkingDir: here,
  entryPoints: ['codemirror.mjs'],
  outfile: join(folder, 'codemirror.js'),
  bundle: true,
  format: 'esm',
  target: 'es2022',
  minify: true,
  metafile: true,
  legalComments: 'none',
});

const name = /node_modules\/((?:@[^/]+\/)?[^/]+)\//;
const packages = new Set(Object.keys(metafile.inputs).map((path) => name.exec(path)?.[1]).filter(Boolean));
const licences = await Promise.all(
  [...packages].sort().map(async (each) => {
    const root = join(here, 'node_modules', each);
    const file = (await readdir(root)).find((entry) => /^licen[cs]e/i.test(entry));
    if (!file) throw new Error(`${each} has no licence file: the bundle may not be published without it.`);
    return `${each}\n\n${(await readFile(join(root, file), 'utf8')).trim()}\n`;
  }),
);
await writeFile(join(folder, 'licences.txt'), licences.join(`\n${'-'.repeat(80)}\n\n`));

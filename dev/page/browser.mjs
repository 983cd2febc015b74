// A headless Chromium: the one that a package carries, or CHROMIUM if that names another.
import carried from '@sparticuz/chromium';
import { chromium } from 'playwright-core';

// Its own flags are for a place with one process, where closing a page ends the browser.
const FLAGS = ['--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage'];

export async function launch() {
  const executablePath = process.env.CHROMIUM ?? (await carried.executablePath());
  return chromium.launch({ executablePath, args: FLAGS, headless: true });
}

// A reader of Server-Sent Events as browsers have it (EventSource: reconnects, sends Last-Event-ID). Argument: URL. One JSON line an event.
import { EventSource } from 'eventsource';

const source = new EventSource(process.argv[2]);
source.addEventListener('open', () => console.log(JSON.stringify({ type: 'open' })));
source.addEventListener('error', (e) => console.log(JSON.stringify({ type: 'error', code: e.code ?? null })));
for (const type of process.argv.slice(3))
  source.addEventListener(type, (e) => console.log(JSON.stringify({ type, id: e.lastEventId, data: JSON.parse(e.data) })));

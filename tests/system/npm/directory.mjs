// npm's coap as a client of the directory: discover, register, look up, observe. Arguments: HOST PORT. Prints one JSON line.
import coap from 'coap';

const [host, port] = [process.argv[2], Number(process.argv[3])];

function request(options, payload) {
  return new Promise((resolve, reject) => {
    const req = coap.request({ hostname: host, port, ...options });
    for (const [name, value] of options.set ?? []) req.setOption(name, value);
    req.on('response', (res) => {
      if (options.observe) return resolve(res);
      const parts = [];
      res.on('data', (d) => parts.push(d));
      res.on('end', () => resolve({ code: res.code, body: Buffer.concat(parts).toString(), options: res.options }));
    });
    req.on('error', reject);
    req.on('timeout', () => reject(new Error('timeout')));
    req.end(payload);
  });
}

const out = {};
const core = await request({ pathname: '/.well-known/core', query: 'rt=core.rd*' });
out.discovered = core.body;
const rd = core.body.match(/<([^>]*)>;rt="core.rd"/)[1];
const eps = core.body.match(/<([^>]*)>;rt="core.rd-lookup-ep"/)[1];

// Stays all the time: the library says nothing of a notification without a payload.
await request({ method: 'POST', pathname: rd, query: 'ep=npm0&et=robot', set: [['Content-Format', 'application/link-format']] }, '</x>');
const observed = await request({ pathname: eps, query: 'et=robot', observe: true });
const seen = [];
let wake = () => {};
observed.on('data', (d) => { seen.push(d.toString()); wake(); });
const told = async (test) => { while (!test(seen.at(-1) ?? '')) await new Promise((r) => { wake = r; }); };

await told((s) => s.includes('npm0'));
const links = Array.from({ length: 50 }, (_, i) => `</robot/arm/${i}>;rt="joint"`).join(',');   // Block1, several blocks
const made = await request({ method: 'POST', pathname: rd, query: 'ep=npm1&et=robot&lt=300&base=coap://10.3.3.3',
  set: [['Content-Format', 'application/link-format'], ['Block1', Buffer.from([0x02])]] }, links);
out.registered = made.code;
const where = '/' + made.options.filter((o) => o.name === 'Location-Path').map((o) => o.value.toString().replace(/^\//, '')).join('/');
await told((s) => s.includes('npm1'));
out.resources = (await request({ pathname: '/rd-lookup/res', query: 'ep=npm1' })).body;               // Block2, put together by the library
out.updated = (await request({ method: 'POST', pathname: where, query: 'lt=400' })).code;
out.removed = (await request({ method: 'DELETE', pathname: where })).code;
await told((s) => !s.includes('npm1'));
out.gone = (await request({ method: 'DELETE', pathname: where })).code;
out.observed = seen;
observed.close();
console.log(JSON.stringify(out));
process.exit(0);

// npm's coap as a client of Bluetooth resources: list, read, observe. Arguments: HOST PORT PATH-OF-VALUE. Prints a line of JSON for each
// answer, and for each value as it is told, until there were two.
import coap from 'coap';

const [host, port, path] = [process.argv[2], Number(process.argv[3]), process.argv[4]];
const say = (o) => console.log(JSON.stringify(o));

function request(options) {
  return new Promise((resolve, reject) => {
    const req = coap.request({ hostname: host, port, ...options });
    for (const [name, value] of options.set ?? []) req.setOption(name, value);
    req.on('response', resolve);
    req.on('error', reject);
    req.on('timeout', () => reject(new Error('timeout')));
    req.end();
  });
}

const nodes = await request({ pathname: '/ble/gap/nodes/passive', set: [['Accept', 'application/json']] });
say({ nodes: JSON.parse(nodes.payload.toString()) });
const read = await request({ pathname: path, set: [['Accept', 'text/plain']] });
say({ code: read.code, text: read.payload.toString() });
const stream = await request({ pathname: path, observe: true, set: [['Accept', 'text/plain']] });
let n = 0;
stream.on('data', (d) => {
  say({ told: d.toString() });
  if (++n === 2) {
    stream.close();
    setImmediate(() => process.exit(0));
  }
});

// npm's coap as a node: register, ask, fetch the image blockwise, report. Arguments: HOST PORT EP VID CID DIGEST FILE. Prints the
// codes as one JSON line; the image goes to FILE.
import coap from 'coap';
import fs from 'node:fs';

const [host, port, ep, vid, cid, digest, file] = process.argv.slice(2);

function request(options, payload) {
  return new Promise((resolve, reject) => {
    const req = coap.request({ hostname: host, port: Number(port), ...options });
    for (const [name, value] of options.set ?? []) req.setOption(name, value);
    req.on('response', (res) => {
      const parts = [];
      res.on('data', (d) => parts.push(d));
      res.on('end', () => resolve({ code: res.code, body: Buffer.concat(parts), options: res.options }));
    });
    req.on('error', reject);
    req.on('timeout', () => reject(new Error('timeout')));
    req.end(payload);
  });
}

const out = {};
out.registered = (await request({ method: 'POST', pathname: '/rd', query: `ep=${ep}&vid=${vid}&cid=${cid}&seq=1&lt=600`,
  set: [['Content-Format', 'application/link-format']] }, '</x>')).code;
let offer;
for (let i = 0; i < 200; i++) {
  offer = await request({ pathname: '/fw', query: `ep=${ep}` });
  if (offer.code === '2.05') break;
  await new Promise((r) => setTimeout(r, 50));
}
out.offered = offer.code;
out.envelope_bytes = offer.body.length;
for (const szx of [2, 6]) {
  const image = await request({ pathname: `/fw/i/${digest}`, query: `ep=${ep}`, set: [['Block2', Buffer.from([szx])]] });
  fs.writeFileSync(`${file}.${szx}`, image.body);
  out[`image_${szx}`] = image.code;
}
console.log(JSON.stringify(out));
process.exit(0);

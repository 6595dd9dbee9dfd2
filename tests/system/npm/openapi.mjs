// Is FILE a valid OpenAPI document, by the official schema, with references that lead somewhere? And can programs be made from it:
// operations with names of their own, every part of a path declared, an answer for success and for failure? Prints what is wrong; exit 1 then.
import { Validator } from '@seriousme/openapi-schema-validator';
import fs from 'node:fs';

const METHODS = ['get', 'put', 'post', 'delete', 'options', 'head', 'patch', 'trace'];
const wrong = [];

function lintOperation(path, method, item, op, ids) {
    const here = `${method} ${path}`;
    const parameters = [...(item.parameters ?? []), ...(op.parameters ?? [])];
    const declared = parameters.filter(p => p.in === 'path').map(p => p.name);
    const inPath = [...path.matchAll(/\{([^}]*)\}/g)].map(m => m[1]);
    const answers = Object.keys(op.responses ?? {});

    if (!op.operationId || ids.has(op.operationId)) wrong.push(`${here}: operationId ${op.operationId} is missing or another's`);
    ids.add(op.operationId);
    if (!op.summary) wrong.push(`${here}: no summary`);
    for (const name of inPath) if (!declared.includes(name)) wrong.push(`${here}: {${name}} is not declared`);
    for (const name of declared) if (!inPath.includes(name)) wrong.push(`${here}: parameter ${name} is not in the path`);
    for (const p of parameters) if (p.in === 'path' && p.required !== true) wrong.push(`${here}: {${p.name}} is not required`);
    if (new Set(parameters.map(p => `${p.in} ${p.name}`)).size !== parameters.length) wrong.push(`${here}: a parameter twice`);
    if (!answers.some(s => s.startsWith('2'))) wrong.push(`${here}: no answer for success`);
    if (!answers.some(s => s === 'default' || s.startsWith('4'))) wrong.push(`${here}: no answer for failure`);
    if (op.requestBody && method === 'get') wrong.push(`${here}: a body with GET`);
    for (const need of op.security ?? [])
        for (const scheme of Object.keys(need))
            if (!doc.components?.securitySchemes?.[scheme]) wrong.push(`${here}: no security scheme ${scheme}`);
}

function lint(doc) {
    const ids = new Set(), shapes = new Map();

    for (const [path, item] of Object.entries(doc.paths ?? {})) {
        const shape = path.replace(/\{[^}]*\}/g, '{}');
        if (shapes.has(shape)) wrong.push(`${path}: the same as ${shapes.get(shape)}`);
        shapes.set(shape, path);
        for (const method of METHODS) if (item[method]) lintOperation(path, method, item, item[method], ids);
    }
    if (!ids.size) wrong.push('no operations');
}

const doc = JSON.parse(fs.readFileSync(process.argv[2], 'utf8'));
const validator = new Validator();
const result = await validator.validate(structuredClone(doc));
if (result.valid) {
    try {
        validator.resolveRefs();               // throws on a reference to nothing
    } catch (e) {
        wrong.push(e.message);
    }
    lint(doc);
} else {
    wrong.push(JSON.stringify(result.errors, null, 1));
}
console.log(`OpenAPI ${validator.version}: ${wrong.length ? wrong.join('\n') : 'valid'}`);
process.exit(wrong.length ? 1 : 0);

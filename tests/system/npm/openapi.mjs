// Is FILE a valid OpenAPI document, by the official schema, with references that lead somewhere? Prints what is wrong; exit 1 then.
import { Validator } from '@seriousme/openapi-schema-validator';
import fs from 'node:fs';

const validator = new Validator();
const result = await validator.validate(JSON.parse(fs.readFileSync(process.argv[2], 'utf8')));
console.log(`OpenAPI ${validator.version}: ${result.valid ? 'valid' : JSON.stringify(result.errors, null, 1)}`);
if (result.valid) validator.resolveRefs();     // throws on a reference to nothing
process.exit(result.valid ? 0 : 1);

// Reads an AsyncAPI document with the project's own parser, and fails where that finds an error.
import { Parser, fromFile } from '@asyncapi/parser';

const ERROR = 0;
const { document, diagnostics } = await fromFile(new Parser(), process.argv[2]).parse();
const errors = diagnostics.filter(({ severity }) => severity === ERROR);
for (const { code, message, path } of errors) console.error(`${path.join('/')}: ${code}: ${message}`);
if (document === undefined || errors.length > 0) process.exit(1);
console.log(`asyncapi ${document.version()}: ${document.channels().length} channels, ${document.messages().length} messages`);

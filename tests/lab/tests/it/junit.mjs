// Reads a JUnit XML file with a library whose entry is given, and prints what it makes of it.
import { readFile } from "node:fs/promises";
import { pathToFileURL } from "node:url";

const [entry, file] = process.argv.slice(2);
const { parse } = await import(pathToFileURL(entry));
console.log(JSON.stringify(await parse(await readFile(file, "utf8"))));

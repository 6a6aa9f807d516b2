/**
 * `node rig/serve.js '{"bindings": {…}, "persist": "/folder"}'`: the rig as a process, until its
 * standard input ends. Prints one line of JSON when it answers.
 */

import { ACCOUNT, JOBS, RESULTS, TOKEN, start } from "./rig.js";

const { mf, url } = await start(JSON.parse(process.argv[2]));
const named = { url, account: ACCOUNT, jobs: JOBS, results: RESULTS, token: TOKEN };
process.stdout.write(`${JSON.stringify(named)}\n`);
process.stdin.resume();
process.stdin.on("end", async () => {
  await mf.dispose();
  process.exit(0);
});

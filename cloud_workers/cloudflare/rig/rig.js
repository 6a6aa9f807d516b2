/** Cloudflare in one process: the real Worker, miniflare's queue, a ledger on disk, an e-mail sink. */

import { join } from "node:path";
import { fileURLToPath } from "node:url";

import { Log, LogLevel, Miniflare } from "miniflare";

const here = fileURLToPath(new URL(".", import.meta.url));
const root = join(here, "..");
const common = {
  modules: true,
  modulesRules: [{ type: "ESModule", include: ["**/*.js"] }],
  compatibilityDate: "2026-04-01",
};

export const ACCOUNT = "a".repeat(32);
export const JOBS = "1".repeat(32);
export const RESULTS = "2".repeat(32);
export const TOKEN = "token-of-the-rig-0123456789";

/**
 * Start it. bindings: the Worker's vars and secrets; persist: the folder of its storage, or false;
 * retries: so often the queue brings a message back before it is dead; repeat: it has each twice.
 */
export async function start({ bindings, port = 0, persist = false, retries = 100, repeat = false }) {
  const mf = new Miniflare({
    host: "127.0.0.1",
    port,
    log: new Log(LogLevel.ERROR),
    handleRuntimeStdio: (out, err) => [out, err].forEach((stream) => stream.pipe(process.stderr)),
    durableObjectsPersist: persist,
    workers: [
      {
        ...common,
        name: "api",
        scriptPath: join(here, "api.js"),
        modulesRoot: here,
        bindings: { TOKEN, JOBS_ID: JOBS, RESULTS_ID: RESULTS, REPEAT: repeat },
        queueProducers: { JOBS: { queueName: "jobs" } },
        queueConsumers: { results: { maxBatchSize: 20, maxBatchTimeout: 0, maxRetries: 100 } },
        durableObjects: { SHELF: { className: "Shelf", useSQLite: true } },
        serviceBindings: { SINK: "sink", WORKER: "worker" },
      },
      {
        ...common,
        name: "worker",
        scriptPath: join(root, "worker.js"),
        modulesRoot: root,
        bindings: { DEAD_QUEUE: "dead", ...bindings },
        queueProducers: { RESULTS: { queueName: "results" } },
        queueConsumers: {
          jobs: { maxBatchSize: 1, maxBatchTimeout: 0, maxRetries: retries, deadLetterQueue: "dead" },
          dead: { maxBatchSize: 1, maxBatchTimeout: 0, maxRetries: 100 },
        },
        durableObjects: { LEDGER: { className: "Ledger", useSQLite: true } },
        serviceBindings: { EMAIL: { name: "sink", entrypoint: "Mail" } },
      },
      {
        ...common,
        name: "sink",
        scriptPath: join(here, "sink.js"),
        modulesRoot: here,
        durableObjects: { POST: { className: "Post", useSQLite: true } },
      },
    ],
  });
  const url = (await mf.ready).href.replace(/\/$/, "");
  return { mf, url };
}

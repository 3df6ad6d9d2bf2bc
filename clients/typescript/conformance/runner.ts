/**
 * Answers the conformance suite: `node runner.js EDGE_URL`, one question a line on standard input, one answer a line on
 * standard output. Questions are answered side by side.
 */

import { createInterface } from "node:readline";

import type { Interceptor, Transport } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { createGrpcWebTransport } from "@connectrpc/connect-web";

import { askConnect } from "./connect_door.js";
import { GrpcJsDoor } from "./grpc_js_door.js";
import type { Answer, Question } from "./questions.js";

const baseUrl = process.argv[2] ?? "";
const interceptors: Interceptor[] = [];
const transports: Record<string, Transport> = {
  "connect-grpc": createGrpcTransport({ baseUrl, interceptors }),
  "connect-web": createGrpcWebTransport({ baseUrl, interceptors }),
};
const descriptorSet = await fetch(new URL("/candela.binpb", baseUrl));
if (!descriptorSet.ok) {
  throw new Error(`the edge publishes no descriptor set: ${descriptorSet.status}`);
}
const grpcJs = new GrpcJsDoor(new URL(baseUrl).host, Buffer.from(await descriptorSet.arrayBuffer()));

async function answer(question: Question): Promise<Answer> {
  const transport = transports[question.door];
  return transport ? await askConnect(transport, question) : await grpcJs.ask(question);
}

for await (const line of createInterface({ input: process.stdin })) {
  const question = JSON.parse(line) as Question;
  void answer(question).then(
    (found) => process.stdout.write(`${JSON.stringify({ id: question.id, ...found })}\n`),
    (thrown: unknown) => {
      const broken = thrown instanceof Error ? (thrown.stack ?? thrown.message) : String(thrown);
      process.stdout.write(`${JSON.stringify({ id: question.id, broken })}\n`);
    },
  );
}
process.exit(0);

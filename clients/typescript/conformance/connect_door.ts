/** Stock Connect clients over the generated code: gRPC, and gRPC-Web as browsers speak it. */

import { clone, type DescMessage, type DescMethod, fromJson, type JsonValue, type Message, toJson } from "@bufbuild/protobuf";
import { reflect } from "@bufbuild/protobuf/reflect";
import { type CallOptions, ConnectError, createClient, type Transport } from "@connectrpc/connect";

import {
  BadRequestSchema,
  ErrorInfoSchema,
  RequestInfoSchema,
  RetryInfoSchema,
} from "../src/gen/google/rpc/error_details_pb.js";
import { type Status, StatusSchema } from "../src/gen/google/rpc/status_pb.js";
import { services } from "../src/gen/services.js";
import { fromStatus } from "../src/index.js";
import { type Answer, CODES, type Failure, type Question, TRACE } from "./questions.js";

type Call = (request: Message, options: CallOptions) => unknown;

/** Asks through a client of Connect's over this transport. */
export async function askConnect(transport: Transport, question: Question): Promise<Answer> {
  const method = find(question.method);
  const client = createClient(method.parent, transport) as unknown as Record<string, Call>;
  const going = new AbortController();
  const answer: Answer = { messages: [], failure: null, trace: null, strange: [] };
  const take = (headers: Headers) => (answer.trace = headers.get(TRACE) ?? answer.trace);
  const options = {
    headers: question.token === "" ? {} : { authorization: `Bearer ${question.token}` },
    signal: going.signal,
    timeoutMs: 30_000,
    onHeader: take,
    onTrailer: take,
  };
  const request = fromJson(method.input, question.request as JsonValue);
  try {
    const call = client[method.localName]!(request, options);
    if (question.cancelAfter === 0) {
      setImmediate(() => going.abort());
    }
    if (method.methodKind === "unary") {
      see(answer, method.output, (await call) as Message);
    } else {
      await read(answer, method, call as AsyncIterable<Message>, question, going);
    }
  } catch (thrown) {
    answer.failure = failureOf(ConnectError.from(thrown));
  }
  return answer;
}

async function read(
  answer: Answer,
  method: DescMethod,
  stream: AsyncIterable<Message>,
  question: Question,
  going: AbortController,
): Promise<void> {
  for await (const message of stream) {
    see(answer, method.output, message);
    if (answer.messages.length === question.cancelAfter) {
      going.abort();
    }
  }
}

function see(answer: Answer, schema: DescMessage, message: Message): void {
  answer.strange.push(...strangeFields(schema, message));
  const field = schema.field["error"];
  if (field?.message?.typeName !== StatusSchema.typeName || !reflect(schema, message).isSet(field)) {
    answer.messages.push(toJson(schema, message));
    return;
  }
  const rest = clone(schema, message);
  reflect(schema, rest).clear(field);
  const status = (reflect(schema, message).get(field) as { message: Message }).message as Status;
  answer.messages.push({ ...(toJson(schema, rest) as object), error: failureOf(fromStatus(status)) });
}

/** Returns where a message holds fields that the contract does not have. */
function strangeFields(schema: DescMessage, message: Message, path = schema.typeName): string[] {
  const found = (message.$unknown ?? []).map((one) => `${path}: an unknown field ${one.no}`);
  const view = reflect(schema, message);
  for (const field of view.fields) {
    if (field.fieldKind === "message" && view.isSet(field)) {
      found.push(...strangeFields(field.message, view.get(field).message, `${path}.${field.jsonName}`));
    } else if (field.fieldKind === "list" && field.listKind === "message") {
      for (const item of view.get(field)) {
        found.push(...strangeFields(field.message, (item as { message: Message }).message, `${path}.${field.jsonName}`));
      }
    }
  }
  return found;
}

function find(name: string): DescMethod {
  for (const service of Object.values(services)) {
    const method = service.methods.find((one) => `${service.typeName}/${one.name}` === name);
    if (method !== undefined) {
      return method;
    }
  }
  throw new Error(`the generated code has no ${name}`);
}

function failureOf(error: ConnectError): Failure {
  const info = error.findDetails(ErrorInfoSchema)[0];
  const request = error.findDetails(RequestInfoSchema)[0];
  return {
    code: CODES[error.code] ?? String(error.code),
    message: error.rawMessage,
    reason: info?.reason ?? "",
    domain: info?.domain ?? "",
    metadata: { ...info?.metadata },
    violations: error
      .findDetails(BadRequestSchema)
      .flatMap((bad) => bad.fieldViolations)
      .map((one) => ({ field: one.field, rule: one.reason, description: one.description })),
    retry: error.findDetails(RetryInfoSchema).length > 0,
    trace: request?.requestId ?? error.metadata.get(TRACE) ?? "",
  };
}

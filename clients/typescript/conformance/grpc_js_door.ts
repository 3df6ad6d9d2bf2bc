/** `@grpc/grpc-js` with no generated code at all: what it knows it has from the descriptor set that the edge publishes. */

import { type Client, credentials, loadPackageDefinition, Metadata, type ServiceError, status } from "@grpc/grpc-js";
import { loadFileDescriptorSetFromBuffer, type MessageTypeDefinition, type PackageDefinition } from "@grpc/proto-loader";

import type { Type } from "protobufjs";

import { type Answer, CODES, type Failure, type Question, TRACE } from "./questions.js";
import { type Entry, mapOf, type Plain, ProtoJson } from "./proto_json.js";

const DETAILS = "grpc-status-details-bin";
const OPTIONS = { longs: String, enums: String, bytes: Buffer };

interface Caller extends Client {
  [method: string]: unknown;
}
interface Detail {
  type_url: string;
  value: Buffer;
}
interface Calls {
  on(name: string, listener: (value: never) => void): Calls;
  cancel(): void;
}

/** One channel and the descriptor set. */
export class GrpcJsDoor {
  readonly #definitions: PackageDefinition;
  readonly #json: ProtoJson;
  readonly #target: string;
  readonly #clients = new Map<string, Caller>();

  constructor(target: string, descriptorSet: Buffer) {
    this.#target = target;
    this.#definitions = loadFileDescriptorSetFromBuffer(descriptorSet, OPTIONS);
    this.#json = new ProtoJson(descriptorSet);
  }

  /** Makes a call and waits for its end. */
  async ask(question: Question): Promise<Answer> {
    const [service = "", name = ""] = question.method.split("/");
    const { input, output } = this.#json.method(service, name);
    const answer: Answer = { messages: [], failure: null, trace: null, strange: [] };
    const metadata = new Metadata();
    if (question.token !== "") {
      metadata.set("authorization", `Bearer ${question.token}`);
    }
    const request = this.#json.read(input, question.request);
    await new Promise<void>((resolve) => {
      const see = (message: Plain) => answer.messages.push(this.#shown(output, message));
      const fail = (error: ServiceError) => (answer.failure = this.#failure(error));
      const call = this.#call(service, name, request, metadata, see, fail, resolve);
      call.on("metadata", (headers: Metadata) => (answer.trace = text(headers, TRACE) || answer.trace));
      call.on("status", (end: { metadata: Metadata }) => (answer.trace = text(end.metadata, TRACE) || answer.trace));
      if (question.cancelAfter === 0) {
        setImmediate(() => call.cancel());
      } else if (question.cancelAfter !== null) {
        call.on("data", () => answer.messages.length >= question.cancelAfter! && call.cancel());
      }
    });
    return answer;
  }

  #call(
    service: string,
    name: string,
    request: Plain,
    metadata: Metadata,
    see: (message: Plain) => void,
    fail: (error: ServiceError) => void,
    end: () => void,
  ): Calls {
    const client = this.#client(service);
    const limits = { deadline: Date.now() + 30_000 };
    const make = (client[name] as (...parts: unknown[]) => Calls).bind(client);
    if (this.#json.method(service, name).streams) {
      const call = make(request, metadata, limits);
      call.on("data", see as never).on("error", fail as never);
      return call.on("status", () => setImmediate(end));
    }
    const call = make(request, metadata, limits, (error: ServiceError | null, reply?: Plain) => {
      if (error) {
        fail(error);
      } else {
        see(reply!);
      }
    });
    return call.on("status", () => setImmediate(end));
  }

  #client(service: string): Caller {
    const known = this.#clients.get(service);
    if (known) {
      return known;
    }
    let found: unknown = loadPackageDefinition(this.#definitions);
    for (const part of service.split(".")) {
      found = (found as Plain)[part];
    }
    const made = new (found as new (target: string, how: unknown) => Caller)(this.#target, credentials.createInsecure());
    this.#clients.set(service, made);
    return made;
  }

  /** Returns a message as ProtoJSON, the `error` of a last event as the failure that it is. */
  #shown(type: Type, message: Plain): unknown {
    const isError = type.fields["error"]?.resolvedType?.fullName === ".google.rpc.Status";
    const { error, ...rest } = message;
    if (!isError || error === undefined || error === null) {
      return this.#json.write(type, message);
    }
    const told = error as { code?: number; message?: string; details?: Detail[] };
    const shown = this.#told(CODES[told.code ?? 0]!, told.message ?? "", told.details ?? [], "");
    return { ...this.#json.write(type, rest), error: shown };
  }

  #failure(error: ServiceError): Failure {
    const raw = error.metadata.get(DETAILS)[0];
    const details = Buffer.isBuffer(raw) ? (this.#decode("google.rpc.Status", raw)["details"] as Detail[]) : [];
    const code = CODES[error.code] ?? status[error.code] ?? "UNKNOWN";
    return this.#told(code, error.details, details ?? [], text(error.metadata, TRACE));
  }

  #told(code: string, message: string, details: Detail[], trace: string): Failure {
    const parts = new Map<string, Plain>();
    for (const detail of details) {
      const name = detail.type_url.slice(detail.type_url.lastIndexOf("/") + 1);
      parts.set(name, this.#decode(name, detail.value));
    }
    const info = parts.get("google.rpc.ErrorInfo") ?? {};
    const bad = parts.get("google.rpc.BadRequest")?.["field_violations"] as Plain[] | undefined;
    return {
      code,
      message,
      reason: String(info["reason"] ?? ""),
      domain: String(info["domain"] ?? ""),
      metadata: mapOf((info["metadata"] ?? []) as Entry[]) as Record<string, string>,
      violations: (bad ?? []).map((one) => ({
        field: String(one["field"] ?? ""),
        rule: String(one["reason"] ?? ""),
        description: String(one["description"] ?? ""),
      })),
      retry: parts.has("google.rpc.RetryInfo"),
      trace: String(parts.get("google.rpc.RequestInfo")?.["request_id"] ?? trace),
    };
  }

  #decode(name: string, raw: Buffer): Plain {
    const definition = this.#definitions[name] as MessageTypeDefinition<object, Plain> | undefined;
    if (!definition) {
      throw new Error(`the published descriptor set has no ${name}`);
    }
    return definition.deserialize(raw);
  }
}

function text(metadata: Metadata, name: string): string {
  return String(metadata.get(name)[0] ?? "");
}

/**
 * ProtoJSON for the plain objects of `@grpc/proto-loader`, which has its own ideas of timestamps, masks and names. Knows
 * the types from the descriptor set alone, through the library that proto-loader itself stands on.
 */

import protobuf from "protobufjs";
import "protobufjs/ext/descriptor/index.js";

export type Plain = Record<string, unknown>;

/** What the import above adds to the library; its types do not say so. */
interface FromDescriptor {
  fromDescriptor(descriptorSet: Uint8Array): protobuf.Root;
}

/** One entry of a map, whose zero values are left out. */
export interface Entry {
  key?: string;
  value?: unknown;
}

/** One method: what it takes and returns. */
export interface Method {
  input: protobuf.Type;
  output: protobuf.Type;
  streams: boolean;
}

/** Reads and writes ProtoJSON. */
export class ProtoJson {
  readonly #root: protobuf.Root;

  constructor(descriptorSet: Uint8Array) {
    this.#root = (protobuf.Root as unknown as FromDescriptor).fromDescriptor(descriptorSet);
    this.#root.resolveAll();
  }

  /** Returns a method of a service. */
  method(service: string, name: string): Method {
    const found = this.#root.lookupService(service).methods[name]!.resolve() as protobuf.Method;
    return { input: found.resolvedRequestType!, output: found.resolvedResponseType!, streams: !!found.responseStream };
  }

  /** Turns ProtoJSON into what proto-loader takes. */
  read(type: protobuf.Type, json: Plain): Plain {
    return this.#each(type, json, camel, (name) => name, readOne, (inner, value) => this.read(inner, value));
  }

  /** Turns what proto-loader gave into ProtoJSON. */
  write(type: protobuf.Type, plain: Plain): Plain {
    return this.#each(type, plain, (name) => name, camel, writeOne, (inner, value) => this.write(inner, value));
  }

  #each(
    type: protobuf.Type,
    source: Plain,
    from: (name: string) => string,
    to: (name: string) => string,
    scalar: (type: string, value: unknown) => unknown,
    message: (inner: protobuf.Type, value: Plain) => unknown,
  ): Plain {
    const one = (field: protobuf.Field, value: unknown) =>
      field.resolvedType instanceof protobuf.Type && !wellKnown(field.resolvedType)
        ? message(field.resolvedType, value as Plain)
        : scalar(field.resolvedType?.fullName ?? field.type, value);
    const found: Plain = {};
    for (const field of type.fieldsArray) {
      const value = source[from(field.name)] ?? source[field.name];
      if (value === undefined || value === null) {
        continue;
      }
      const name = to(field.name);
      if (isEntry(field.resolvedType)) {
        found[name] = Array.isArray(value) ? mapOf(value as Entry[]) : entriesOf(value as Plain);
      } else {
        found[name] = Array.isArray(value) ? value.map((inner) => one(field, inner)) : one(field, value);
      }
    }
    return found;
  }
}

/**
 * Tells whether a type is an entry of a map: loaded from a descriptor set, a map is a list of such entries. The library
 * gives the option to the message that has the map, too; only the entry is a key and a value and nothing else.
 */
function isEntry(type: protobuf.ReflectionObject | null): boolean {
  if (!(type instanceof protobuf.Type) || type.options?.["map_entry"] !== true) {
    return false;
  }
  return type.fieldsArray.length === 2 && "key" in type.fields && "value" in type.fields;
}

/** Returns a map of scalars as an object. */
export function mapOf(entries: readonly Entry[]): Plain {
  return Object.fromEntries(entries.map(({ key, value }) => [key ?? "", value ?? ""]));
}

function entriesOf(map: Plain): Entry[] {
  return Object.entries(map).map(([key, value]) => ({ key, value }));
}

function wellKnown(type: protobuf.Type): boolean {
  return [".google.protobuf.Timestamp", ".google.protobuf.Duration", ".google.protobuf.FieldMask"].includes(type.fullName);
}

function readOne(type: string, value: unknown): unknown {
  switch (type) {
    case "bytes":
      return Buffer.from(String(value), "base64");
    case ".google.protobuf.Timestamp":
      return timestamp(String(value));
    case ".google.protobuf.Duration":
      return fraction(String(value).slice(0, -1));
    case ".google.protobuf.FieldMask":
      return { paths: String(value).split(",").map(snake) };
    default:
      return value;
  }
}

function writeOne(type: string, value: unknown): unknown {
  const plain = value as Plain;
  switch (type) {
    case "bytes":
      return (value as Buffer).toString("base64");
    case ".google.protobuf.Timestamp":
      return `${new Date(Number(plain["seconds"] ?? 0) * 1000).toISOString().slice(0, 19)}${digits(plain)}Z`;
    case ".google.protobuf.Duration":
      return `${String(plain["seconds"] ?? 0)}${digits(plain)}s`;
    case ".google.protobuf.FieldMask":
      return ((plain["paths"] ?? []) as string[]).map(camel).join(",");
    default:
      return value;
  }
}

function camel(name: string): string {
  return name.replace(/_([a-z0-9])/g, (_, letter: string) => letter.toUpperCase());
}

function snake(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}

/** Returns the fraction of a second as ProtoJSON has it: nothing, or 3, 6 or 9 digits. */
function digits(plain: Plain): string {
  const nanos = Number(plain["nanos"] ?? 0);
  return nanos === 0 ? "" : `.${String(nanos).padStart(9, "0").replace(/(000)+$/, "")}`;
}

function timestamp(text: string): Plain {
  const [, whole = "", part = "", zone = "Z"] = /^([^.Z+]+)(?:\.(\d+))?(.*)$/.exec(text) ?? [];
  return { seconds: String(Date.parse(whole + zone) / 1000), nanos: Number(part.padEnd(9, "0")) };
}

function fraction(text: string): Plain {
  const [seconds = "0", part = ""] = text.split(".");
  return { seconds, nanos: Number(part.padEnd(9, "0")) };
}

/**
 * Answers that come in pieces. A finite stream of Candela ends with one event, `completed` or `error`, because a gateway
 * in between cannot be trusted to pass on how a stream ended.
 */

import { Code, ConnectError } from "@connectrpc/connect";

import { CandelaError, fromStatus } from "./errors.js";
import type { Status } from "./gen/google/rpc/status_pb.js";

interface Event {
  event: { case: string | undefined; value?: unknown };
}
type Completed<Message extends Event> = Extract<Message["event"], { case: "completed" }>["value"];

/**
 * The events of one stream. Iterate over it; `final()` then holds what the last event said. An `error` event is thrown
 * as what it is, and a stream that breaks off before its last event as UNAVAILABLE.
 */
export class EventStream<Message extends Event> implements AsyncIterable<Message> {
  readonly #source: AsyncIterable<Message>;
  #completed: Completed<Message> | undefined;

  constructor(source: AsyncIterable<Message>) {
    this.#source = source;
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Message, void, undefined> {
    for await (const message of this.#source) {
      if (message.event.case === "error") {
        throw fromStatus(message.event.value as Status);
      }
      if (message.event.case === "completed") {
        this.#completed = message.event.value as Completed<Message>;
      }
      yield message;
    }
    if (this.#completed === undefined) {
      throw CandelaError.from(new ConnectError("the stream broke off before its end", Code.Unavailable));
    }
  }

  /** Reads what is left and returns what the `completed` event said. */
  async final(): Promise<Completed<Message>> {
    if (this.#completed === undefined) {
      for await (const _ of this) {
        continue;
      }
    }
    return this.#completed!;
  }
}

/** Follows a stream to its terminal event: `for await (const event of follow(candela.recognitionJob.watch…))`. */
export function follow<Message extends Event>(stream: AsyncIterable<Message>): EventStream<Message> {
  return new EventStream(stream);
}

// The types of what static/chat/connection.js uses. Not part of the npm package.

export interface Options {
  minReconnectionDelay: number;
  maxReconnectionDelay: number;
  reconnectionDelayGrowFactor: number;
  maxRetries: number;
  connectionTimeout: number;
  maxEnqueuedMessages: number;
}

export default class ReconnectingWebSocket {
  constructor(url: string, protocols: string[], options: Options);
  readonly readyState: number;
  addEventListener(type: "message", listener: (event: MessageEvent<string>) => void): void;
  addEventListener(type: "open" | "close", listener: (event: Event) => void): void;
  send(data: string): void;
  close(): void;
}

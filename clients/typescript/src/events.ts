/** Server-Sent Events (WHATWG HTML), put together from the bytes of a stream. */

export interface Event {
  name: string;
  id: string;
  data: string;
}

export class EventParser {
  #decoder = new TextDecoder();
  #rest = '';
  #id = '';
  #name = '';
  #data: string[] = [];

  /** Takes what came; the events that it completes. */
  *feed(chunk: Uint8Array): Generator<Event> {
    const lines = (this.#rest + this.#decoder.decode(chunk, { stream: true })).split('\n');
    this.#rest = lines.pop() ?? '';
    for (const line of lines) {
      const event = this.#line(line.endsWith('\r') ? line.slice(0, -1) : line);
      if (event) yield event;
    }
  }

  #line(line: string): Event | undefined {
    if (line === '') {
      const event = this.#data.length > 0 ? { name: this.#name || 'message', id: this.#id, data: this.#data.join('\n') } : undefined;
      [this.#name, this.#data] = ['', []];
      return event;
    }
    const [, name = '', value = ''] = /^([^:]*)(?:: ?)?(.*)$/su.exec(line) ?? [];
    if (name === 'data') this.#data.push(value);
    else if (name === 'event') this.#name = value;
    else if (name === 'id') this.#id = value;
    return undefined;
  }
}

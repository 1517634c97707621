// Python's http.client before 3.12 (and with it urllib, requests, boto3) opens tunnels by `CONNECT host:port HTTP/1.0` without
// a Host. Such a head is put into today's form, and then read by the strict reader like any other; nothing is judged here.
// Only CONNECT: it has no body, so that an older version cannot change where a message ends.

const firstLineBytesMax = 512

/** The head as HTTP/1.1 with a Host, or null where it is no CONNECT of HTTP/1.0. `end` is the index after CRLFCRLF. */
export function modernConnect(buffer: Buffer, end: number): Buffer | null {
  if (buffer[0] !== 0x43 || buffer.toString('latin1', 0, 8) !== 'CONNECT ') return null
  const line = /^CONNECT ([^ \r\n]+) HTTP\/1\.0\r\n/.exec(buffer.toString('latin1', 0, Math.min(end, firstLineBytesMax)))
  if (line === null) return null
  const fields = buffer.toString('latin1', line[0].length, end)
  // A Host that stands there stays, and must name the same authority as with any CONNECT.
  const host = /(?:^|\n)host[ \t]*:/i.test(fields) ? '' : `Host: ${line[1]}\r\n`
  return Buffer.from(`CONNECT ${line[1]} HTTP/1.1\r\n${host}${fields}`, 'latin1')
}

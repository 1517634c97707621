// The bars of the bench as SVG, for the documents: CPU a request, on a scale of powers of ten, for the slowest peer costs a
// hundred times the fastest. It must never show a figure without its spread.
import type { Shown } from './stand.ts'

const width = 860
const left = 250
const row = 24
const text = (x: number, y: number, what: string, more = ''): string =>
  `<text x="${x}" y="${y}"${more}>${what.replaceAll('&', '&amp;').replaceAll('<', '&lt;')}</text>`

/** From half of the least, so that every side has a bar. */
function scaleOf(shown: readonly Shown[]): (micros: number) => number {
  const least = Math.min(...shown.map((one) => one.spread[0])) / 2
  const most = Math.max(...shown.map((one) => one.spread[1]))
  return (micros) => left + ((width - left - 130) * Math.log10(micros / least)) / Math.log10(most / least)
}

export function chart(shown: readonly Shown[]): string {
  const groups = [...new Set(shown.map((one) => one.group))]
  const parts: string[] = []
  let y = 30
  for (const group of groups) {
    const scale = scaleOf(shown.filter((one) => one.group === group))
    parts.push(text(12, y, group, ' font-weight="bold"'))
    y += 14
    for (const one of shown.filter((each) => each.group === group).toSorted((a, b) => a.cpuMicros - b.cpuMicros)) {
      const colour = one.name.startsWith('ostiary') ? '#1f6feb' : one.name.startsWith('floor') ? '#c9d1d9' : '#8b949e'
      const [from, to] = one.spread.map(scale) as [number, number]
      parts.push(text(left - 8, y + 15, one.name, ' text-anchor="end"'))
      parts.push(
        `<rect x="${left}" y="${y + 3}" width="${Math.max(1, scale(one.cpuMicros) - left).toFixed(1)}" height="15" fill="${colour}"/>`,
      )
      parts.push(`<path d="M${from.toFixed(1)} ${y + 10.5}H${to.toFixed(1)}" stroke="#24292f" stroke-width="2"/>`)
      parts.push(text(Math.round(Math.max(to, scale(one.cpuMicros)) + 8), y + 15, `${one.cpuMicros} µs`))
      y += row
    }
    y += 24
  }
  parts.push(
    text(
      12,
      y,
      'CPU µs a request, median and spread of the rounds, logarithmic, each group on its own scale: less is better.',
      ' fill="#57606a"',
    ),
  )
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${y + 14}" font-family="sans-serif" font-size="13" fill="#24292f">
<rect width="100%" height="100%" fill="#ffffff"/>
${parts.join('\n')}
</svg>
`
}

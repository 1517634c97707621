// States where: the region of the workload as proven or configured, and the country of the socket's address by a database
// on disk. It must never read a forwarded header; a loopback or private address has no country.

import { readFile, stat } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { isIP } from 'node:net'
import { dirname, join } from 'node:path'
import ipaddr from 'ipaddr.js'
import { type CountryResponse, Reader } from 'maxmind'
import { z } from 'zod'
import type { Asked } from '../../model/facts.ts'
import { limits } from '../../model/limits.ts'
import { Refusal } from '../../model/refusal.ts'
import type { Condition, ConditionKind } from '../condition.ts'

const schema = z.strictObject({
  region: z
    .strictObject({
      proven: z.string().min(1).optional().describe('Proven attribute that names the region; it comes first'),
      label: z.string().min(1).optional().describe('Label that names the region where none is proven'),
    })
    .default({ proven: 'region', label: 'region' }),
  database: z.string().min(1).optional().describe('MMDB file with countries; the one that ships where left out'),
})

export type LocationConfig = z.output<typeof schema>
type Place = Readonly<Record<string, string>>

export const location: ConditionKind<LocationConfig> = {
  name: 'location',
  summary: 'Region of the workload as proven or configured; country of the address of its connection.',
  schema: schema as z.ZodType<LocationConfig>,
  shape: () => ({ 'region?': 'String', 'country?': 'String' }),
  start,
}

const countriesPackage = '@ip-location-db/geo-whois-asn-country-mmdb'

function start(config: LocationConfig): Condition & { factsNow(asked: Asked): Place | null } {
  let opening: Promise<Reader<CountryResponse>> | null = null
  let countries: Reader<CountryResponse> | null = null

  const open = (): Promise<Reader<CountryResponse>> => {
    opening ??= openDatabase(config).then(
      (reader) => {
        countries = reader
        return reader
      },
      (error: unknown) => {
        opening = null
        throw error
      },
    )
    return opening
  }
  return {
    factsNow(asked) {
      const address = publicAddress(asked.address)
      if (address !== null && countries === null) return null
      return placeOf(config, asked, address, countries)
    },
    async facts(asked, signal) {
      signal.throwIfAborted()
      const address = publicAddress(asked.address)
      return placeOf(config, asked, address, address === null ? null : await open())
    },
  }
}

function placeOf({ region }: LocationConfig, asked: Asked, address: string | null, countries: Reader<CountryResponse> | null): Place {
  const proven = region.proven !== undefined && Object.hasOwn(asked.proven, region.proven) ? asked.proven[region.proven] : undefined
  const label = region.label !== undefined && Object.hasOwn(asked.labels, region.label) ? asked.labels[region.label] : undefined
  const named = proven ?? label
  const country = address === null ? undefined : countryOf(countries, address)
  return { ...(named === undefined ? {} : { region: named }), ...(country === undefined ? {} : { country }) }
}

/** The plain form of an address that belongs to a place; null for loopback, private, link-local and the like. */
function publicAddress(address: string): string | null {
  // isIP first: ipaddr.js also takes octal and decimal forms.
  if (isIP(address) === 0) return null
  const plain = ipaddr.process(address.replace(/%.*$/, ''))
  return plain.range() === 'unicast' ? plain.toString() : null
}

function countryOf(countries: Reader<CountryResponse> | null, address: string): string | undefined {
  const found = countries?.get(address) as { country_code?: string; country?: { iso_code?: string } } | null | undefined
  // The database that ships is flat, MaxMind's own layout is nested.
  return found?.country_code ?? found?.country?.iso_code
}

async function openDatabase(config: LocationConfig): Promise<Reader<CountryResponse>> {
  const path = config.database ?? shippedDatabase()
  try {
    // Not by the host's readFile: a database is larger than any file of configuration.
    if ((await stat(path)).size > limits.locationBytesMax) throw new Error(`larger than ${limits.locationBytesMax} bytes`)
    return new Reader<CountryResponse>(await readFile(path))
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error)
    throw new Refusal(
      'decide.fact_missing',
      `the database of countries could not be read (${why}); name one under location.database`,
      error,
    )
  }
}

function shippedDatabase(): string {
  const manifest = createRequire(import.meta.url).resolve(`${countriesPackage}/package.json`)
  return join(dirname(manifest), 'geo-whois-asn-country.mmdb')
}

// The services that the product knows, in one list. A vendor is a file and a line.
import type { Service } from '../model/service.ts'
import { anthropic } from './anthropic.ts'
import { aws } from './aws.ts'
import { gemini } from './gemini.ts'
import { github, githubObjects } from './github.ts'
import { openai } from './openai.ts'

export const catalog: readonly Service[] = [openai, anthropic, gemini, github, githubObjects, aws]

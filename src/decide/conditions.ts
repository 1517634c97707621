// The kinds of conditions, in one list. A kind is a folder and a line.
import type { AnyConditionKind } from './condition.ts'
import { location } from './location/location.ts'
import { posture } from './posture/posture.ts'
import { stage } from './stage/stage.ts'
import { timeWindow } from './time-window/time-window.ts'

export const conditionKinds: readonly AnyConditionKind[] = [timeWindow, stage, posture, location]

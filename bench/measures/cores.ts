// More cores: what there is nothing to measure of yet, said where the figure would stand.
import { type Measure, notMeasured } from '../stand.ts'

export const cores: Measure = {
  name: 'cores',
  what: 'two processes on one port',
  run: async () => ({
    rows: [notMeasured('requests/s of two processes on one port / of one', '>= 1.8', 'not built: one process serves a port')],
  }),
}

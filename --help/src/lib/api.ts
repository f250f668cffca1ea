import { addDays } from 'date-fns';
import { random } from './random';
import { type Row, rowSchema } from './schema';

const STATUS = ['open', 'active', 'done'] as const;
const START = new Date(2026, 0, 5);

export async function fetchRows(area: string, count = 24): Promise<Row[]> {
  const next = random([...area].reduce((sum, letter) => sum * 31 + letter.charCodeAt(0), 7));
  return Array.from({ length: count }, (_, index) =>
    rowSchema.parse({
      id: `${area}-${index}`,
      name: `${area} ${index + 1}`,
      amount: Math.round(next() * 90_000) + 1_000,
      status: STATUS[Math.floor(next() * STATUS.length)],
      createdAt: addDays(START, Math.floor(next() * 300)),
    }),
  );
}

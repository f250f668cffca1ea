import { cva } from 'class-variance-authority';
import type { Row } from '@/lib/schema';

const badge = cva('rounded-full px-2 py-0.5 text-xs', {
  variants: {
    status: { open: 'bg-amber-100 text-amber-800', active: 'bg-sky-100 text-sky-800', done: 'bg-emerald-100 text-emerald-800' },
  },
});

export const Badge = ({ status }: Pick<Row, 'status'>) => <span className={badge({ status })}>{status}</span>;

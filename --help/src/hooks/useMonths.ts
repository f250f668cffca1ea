import { format } from 'date-fns';
import { useMemo } from 'react';
import type { Row } from '@/lib/schema';

export function useMonths(rows: Row[]) {
  return useMemo(() => {
    const months = new Map<string, number>();
    for (const row of [...rows].sort((a, b) => +a.createdAt - +b.createdAt)) {
      const month = format(row.createdAt, 'MMM');
      months.set(month, (months.get(month) ?? 0) + row.amount / 100);
    }
    return [...months].map(([month, total]) => ({ month, total: Math.round(total) }));
  }, [rows]);
}

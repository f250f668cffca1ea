import { useMemo } from 'react';
import type { Row } from '@/lib/schema';
import { usePreferences } from '@/lib/store';

export function useSearch(rows: Row[]) {
  const search = usePreferences((state) => state.search).toLowerCase();
  return useMemo(() => rows.filter((row) => row.name.includes(search)), [rows, search]);
}

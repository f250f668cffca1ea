import { useQuery } from '@tanstack/react-query';
import { fetchRows } from '@/lib/api';

export const useRows = (area: string) => useQuery({ queryKey: ['rows', area], queryFn: () => fetchRows(area) });

import { Bar, BarChart, CartesianGrid, ResponsiveContainer, Tooltip, XAxis, YAxis } from 'recharts';
import { useMonths } from '@/hooks/useMonths';
import type { Row } from '@/lib/schema';

export function TicketsChart({ rows }: { rows: Row[] }) {
  return (
    <ResponsiveContainer width="100%" height={220}>
      <BarChart data={useMonths(rows)}>
        <CartesianGrid strokeDasharray="3 3" vertical={false} />
        <XAxis dataKey="month" />
        <YAxis width={48} />
        <Tooltip />
        <Bar dataKey="total" stroke="#4f46e5" fill="#818cf8" />
      </BarChart>
    </ResponsiveContainer>
  );
}

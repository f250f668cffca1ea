import { Badge } from '@/components/Badge';
import { Density } from '@/components/Density';
import { Empty } from '@/components/Empty';
import { cn } from '@/lib/cn';
import { formatDay, formatMoney } from '@/lib/format';
import type { Row } from '@/lib/schema';
import { usePreferences } from '@/lib/store';

export function OrdersTable({ rows }: { rows: Row[] }) {
  const compact = usePreferences((state) => state.compact);
  if (rows.length === 0) return <Empty text="No orders match" />;
  return (
    <div className="space-y-2">
      <Density />
      <table className="w-full text-left text-sm">
        <tbody>
          {rows.map((row) => (
            <tr key={row.id} className="border-b border-slate-100">
              <td className={cn('px-2 py-2.5', compact && 'py-1')}>{row.name}</td>
              <td>{formatDay(row.createdAt)}</td>
              <td>
                <Badge status={row.status} />
              </td>
              <td className="text-right tabular-nums">{formatMoney(row.amount)}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

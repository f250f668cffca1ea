import { TrendingDown, TrendingUp } from 'lucide-react';

export function Stat({ name, value, change }: { name: string; value: string; change: number }) {
  const Trend = change < 0 ? TrendingDown : TrendingUp;
  return (
    <div className="rounded-xl border border-slate-200 bg-white p-4">
      <p className="text-sm text-slate-500">{name}</p>
      <p className="text-xl font-semibold tabular-nums">{value}</p>
      <p className="flex items-center gap-1 text-xs text-slate-500">
        <Trend size={12} /> {change} %
      </p>
    </div>
  );
}

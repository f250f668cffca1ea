export function Skeleton({ lines }: { lines: number }) {
  return (
    <div className="animate-pulse space-y-2" aria-busy="true">
      {Array.from({ length: lines }, (_, line) => (
        <div key={line} className="h-4 rounded bg-slate-200" />
      ))}
    </div>
  );
}

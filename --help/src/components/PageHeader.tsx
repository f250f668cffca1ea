import type { ReactNode } from 'react';
import { useTitle } from '@/hooks/useTitle';

export function PageHeader({ title, note, children }: { title: string; note: string; children?: ReactNode }) {
  useTitle(title);
  return (
    <header className="flex items-end justify-between">
      <div>
        <h1 className="text-2xl font-bold">{title}</h1>
        <p className="text-sm text-slate-500">{note}</p>
      </div>
      {children}
    </header>
  );
}

import type { ComponentProps } from 'react';
import { cn } from '@/lib/cn';

export function Input({ label, className, ...props }: ComponentProps<'input'> & { label: string }) {
  return (
    <label className="block text-sm">
      <span className="text-slate-500">{label}</span>
      <input className={cn('mt-1 w-full rounded-md border border-slate-300 px-2 py-1.5', className)} {...props} />
    </label>
  );
}

import { Slot } from '@radix-ui/react-slot';
import { cva, type VariantProps } from 'class-variance-authority';
import type { ComponentProps } from 'react';
import { cn } from '@/lib/cn';

const button = cva('inline-flex items-center gap-2 rounded-md px-3 py-1.5 text-sm font-medium transition', {
  variants: { kind: { main: 'bg-brand text-white hover:opacity-90', quiet: 'border border-slate-300 hover:bg-slate-100' } },
  defaultVariants: { kind: 'main' },
});

export function Button({ kind, className, asChild, ...props }: ComponentProps<'button'> & VariantProps<typeof button> & { asChild?: boolean }) {
  const Element = asChild ? Slot : 'button';
  return <Element className={cn(button({ kind }), className)} {...props} />;
}

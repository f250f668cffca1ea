import type { ReactNode } from 'react';
import { Sidebar } from './Sidebar';

export function Layout({ children }: { children: ReactNode }) {
  return (
    <div className="grid min-h-dvh grid-cols-1 md:grid-cols-[14rem_1fr]">
      <Sidebar />
      <main className="mx-auto w-full max-w-5xl space-y-6 p-6">{children}</main>
    </div>
  );
}

import * as Tabs from '@radix-ui/react-tabs';
import type { ReactNode } from 'react';

export function TabView({ tabs }: { tabs: Record<string, ReactNode> }) {
  const names = Object.keys(tabs);
  return (
    <Tabs.Root defaultValue={names[0]}>
      <Tabs.List className="mb-4 flex gap-4 border-b border-slate-200">
        {names.map((name) => (
          <Tabs.Trigger key={name} value={name} className="pb-2 text-sm data-[state=active]:border-b-2 data-[state=active]:border-brand">
            {name}
          </Tabs.Trigger>
        ))}
      </Tabs.List>
      {names.map((name) => (
        <Tabs.Content key={name} value={name}>
          {tabs[name]}
        </Tabs.Content>
      ))}
    </Tabs.Root>
  );
}

// Writes the reference app of the benchmarks into a folder: `node generate.mjs DIR [--areas N]`.
//
// Vite 8, React 19, Tailwind 4, 16 dependencies, 62 modules of its own and about 2,500 in all: a dashboard of the size and shape
// that AI builders produce. The output depends on nothing but the arguments. `--areas N` (default 8) makes larger and smaller apps
// with the same dependencies: four modules per area.
//
// To measure an edit, change one of these texts, each of which occurs once: `edition 0` in src/areas/overview/OverviewPage.tsx, which is
// the start page, `styled 0` in src/index.css, `configured 0` in vite.config.ts, `added 0` in src/extras.tsx.

import { json, write } from '../write.mjs';

const AREAS = [
  ['overview', 'Overview', 'LayoutDashboard', 'AreaChart'],
  ['orders', 'Orders', 'ShoppingCart', 'BarChart'],
  ['customers', 'Customers', 'Users', 'LineChart'],
  ['products', 'Products', 'Package', 'BarChart'],
  ['invoices', 'Invoices', 'Receipt', 'AreaChart'],
  ['campaigns', 'Campaigns', 'Megaphone', 'LineChart'],
  ['tickets', 'Tickets', 'LifeBuoy', 'BarChart'],
  ['reports', 'Reports', 'ChartPie', 'AreaChart'],
];

const SERIES = { AreaChart: 'Area', BarChart: 'Bar', LineChart: 'Line' };

const packageJson = {
  name: 'reference',
  private: true,
  version: '0.0.0',
  type: 'module',
  scripts: { dev: 'vite', build: 'vite build' },
  dependencies: {
    '@radix-ui/react-dialog': '1.3.1',
    '@radix-ui/react-slot': '1.5.0',
    '@radix-ui/react-tabs': '1.2.1',
    '@tanstack/react-query': '5.108.0',
    'class-variance-authority': '0.7.1',
    clsx: '2.1.1',
    'date-fns': '4.4.0',
    'lucide-react': '0.462.0',
    react: '19.3.1',
    'react-dom': '19.3.1',
    'react-hook-form': '7.92.0',
    'react-router-dom': '7.18.5',
    recharts: '3.10.1',
    'tailwind-merge': '3.7.0',
    zod: '4.6.7',
    zustand: '5.1.0',
  },
  devDependencies: {
    '@tailwindcss/vite': '4.3.5',
    '@vitejs/plugin-react': '6.3.0',
    tailwindcss: '4.3.5',
    vite: '8.3.8',
  },
};

/** The modules that every size of the app has. */
function frame(areas) {
  return {
    'package.json': json(packageJson),
    'vite.config.ts': `import path from 'node:path';
import tailwindcss from '@tailwindcss/vite';
import react from '@vitejs/plugin-react';
import { defineConfig } from 'vite';

export default defineConfig({
  plugins: [react(), tailwindcss()],
  define: { __NOTE__: JSON.stringify('configured 0') },
  resolve: { alias: { '@': path.resolve(import.meta.dirname, 'src') } },
});
`,
    'index.html': `<!doctype html>
<html lang="en">
  <head>
    <meta charset="utf-8">
    <meta name="viewport" content="width=device-width, initial-scale=1">
    <link rel="icon" href="/favicon.svg">
    <title>Reference</title>
  </head>
  <body>
    <div id="root"></div>
    <script type="module" src="/src/main.tsx"></script>
  </body>
</html>
`,
    'public/favicon.svg': '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 8 8"><rect width="8" height="8" rx="2" fill="#4f46e5"/></svg>\n',
    'src/index.css': `@import 'tailwindcss';

@theme {
  --color-brand: oklch(0.51 0.23 277);
}

:root {
  --edition: 'styled 0';
}

body {
  @apply bg-slate-50 text-slate-900 antialiased;
}
`,
    'src/main.tsx': `import { QueryClientProvider } from '@tanstack/react-query';
import { StrictMode } from 'react';
import { createRoot } from 'react-dom/client';
import { BrowserRouter } from 'react-router-dom';
import App from './App';
import './index.css';
import { queryClient } from './lib/query';

createRoot(document.getElementById('root')!).render(
  <StrictMode>
    <QueryClientProvider client={queryClient}>
      <BrowserRouter>
        <App />
      </BrowserRouter>
    </QueryClientProvider>
  </StrictMode>,
);
`,
    'src/App.tsx': `import { lazy, Suspense } from 'react';
import { Route, Routes } from 'react-router-dom';
import { OverviewPage } from '@/areas/overview/OverviewPage';
import { Empty } from '@/components/Empty';
import { Layout } from '@/components/Layout';
import { Skeleton } from '@/components/Skeleton';

${areas.slice(1).map(([id, name]) => `const ${name}Page = lazy(() => import('@/areas/${id}/${name}Page'));`).join('\n')}

export default function App() {
  return (
    <Layout>
      <Suspense fallback={<Skeleton lines={6} />}>
        <Routes>
          <Route path="/" element={<OverviewPage />} />
${areas.slice(1).map(([id, name]) => `          <Route path="/${id}" element={<${name}Page />} />`).join('\n')}
          <Route path="*" element={<Empty text="There is no such page" />} />
        </Routes>
      </Suspense>
    </Layout>
  );
}
`,
    'src/extras.tsx': `export const Extras = () => <p className="text-xs">added 0</p>;
`,
    'src/lib/cn.ts': `import { type ClassValue, clsx } from 'clsx';
import { twMerge } from 'tailwind-merge';

export const cn = (...values: ClassValue[]) => twMerge(clsx(values));
`,
    'src/lib/format.ts': `import { format, formatDistance } from 'date-fns';

const money = new Intl.NumberFormat('en', { style: 'currency', currency: 'EUR' });

export const formatMoney = (cents: number) => money.format(cents / 100);
export const formatDay = (date: Date) => format(date, 'd MMM yyyy');
export const formatAge = (date: Date, now: Date) => formatDistance(date, now, { addSuffix: true });
`,
    'src/lib/random.ts': `/** The same numbers for the same seed, so that screenshots can be compared. */
export function random(seed: number) {
  let state = seed >>> 0 || 1;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}
`,
    'src/lib/schema.ts': `import { z } from 'zod';

export const rowSchema = z.object({
  id: z.string(),
  name: z.string().min(1),
  amount: z.number().int(),
  status: z.enum(['open', 'active', 'done']),
  createdAt: z.date(),
});

export type Row = z.infer<typeof rowSchema>;
`,
    'src/lib/api.ts': `import { addDays } from 'date-fns';
import { random } from './random';
import { type Row, rowSchema } from './schema';

const STATUS = ['open', 'active', 'done'] as const;
const START = new Date(2026, 0, 5);

export async function fetchRows(area: string, count = 24): Promise<Row[]> {
  const next = random([...area].reduce((sum, letter) => sum * 31 + letter.charCodeAt(0), 7));
  return Array.from({ length: count }, (_, index) =>
    rowSchema.parse({
      id: \`\${area}-\${index}\`,
      name: \`\${area} \${index + 1}\`,
      amount: Math.round(next() * 90_000) + 1_000,
      status: STATUS[Math.floor(next() * STATUS.length)],
      createdAt: addDays(START, Math.floor(next() * 300)),
    }),
  );
}
`,
    'src/lib/query.ts': `import { QueryClient } from '@tanstack/react-query';

export const queryClient = new QueryClient({ defaultOptions: { queries: { staleTime: 60_000, retry: false } } });
`,
    'src/lib/store.ts': `import { create } from 'zustand';

interface Preferences {
  compact: boolean;
  search: string;
  toggleCompact: () => void;
  setSearch: (search: string) => void;
}

export const usePreferences = create<Preferences>((set) => ({
  compact: false,
  search: '',
  toggleCompact: () => set((state) => ({ compact: !state.compact })),
  setSearch: (search) => set({ search }),
}));
`,
    'src/lib/navigation.ts': `import { ${[...new Set(areas.map(([, , icon]) => icon))].sort().join(', ')} } from 'lucide-react';

export const navigation = [
${areas.map(([id, name, icon]) => `  { to: '/${id === 'overview' ? '' : id}', name: '${name}', icon: ${icon} },`).join('\n')}
];
`,
    'src/hooks/useRows.ts': `import { useQuery } from '@tanstack/react-query';
import { fetchRows } from '@/lib/api';

export const useRows = (area: string) => useQuery({ queryKey: ['rows', area], queryFn: () => fetchRows(area) });
`,
    'src/hooks/useSearch.ts': `import { useMemo } from 'react';
import type { Row } from '@/lib/schema';
import { usePreferences } from '@/lib/store';

export function useSearch(rows: Row[]) {
  const search = usePreferences((state) => state.search).toLowerCase();
  return useMemo(() => rows.filter((row) => row.name.includes(search)), [rows, search]);
}
`,
    'src/hooks/useMonths.ts': `import { format } from 'date-fns';
import { useMemo } from 'react';
import type { Row } from '@/lib/schema';

export function useMonths(rows: Row[]) {
  return useMemo(() => {
    const months = new Map<string, number>();
    for (const row of [...rows].sort((a, b) => +a.createdAt - +b.createdAt)) {
      const month = format(row.createdAt, 'MMM');
      months.set(month, (months.get(month) ?? 0) + row.amount / 100);
    }
    return [...months].map(([month, total]) => ({ month, total: Math.round(total) }));
  }, [rows]);
}
`,
    'src/hooks/useTitle.ts': `import { useEffect } from 'react';

export function useTitle(title: string) {
  useEffect(() => {
    document.title = \`\${title} · Reference\`;
  }, [title]);
}
`,
    'src/components/Layout.tsx': `import type { ReactNode } from 'react';
import { Extras } from '@/extras';
import { Sidebar } from './Sidebar';

declare const __NOTE__: string;

export function Layout({ children }: { children: ReactNode }) {
  return (
    <div className="grid min-h-dvh grid-cols-1 md:grid-cols-[14rem_1fr]">
      <Sidebar />
      <main className="mx-auto w-full max-w-5xl space-y-6 p-6">
        {children}
        <footer className="text-slate-400">
          <p className="text-xs">{__NOTE__}</p>
          <Extras />
        </footer>
      </main>
    </div>
  );
}
`,
    'src/components/Sidebar.tsx': `import { NavLink } from 'react-router-dom';
import { cn } from '@/lib/cn';
import { navigation } from '@/lib/navigation';

export function Sidebar() {
  return (
    <nav className="flex gap-1 overflow-x-auto border-r border-slate-200 bg-white p-3 md:flex-col">
      {navigation.map(({ to, name, icon: Icon }) => (
        <NavLink
          key={to}
          to={to}
          className={({ isActive }) => cn('flex items-center gap-2 rounded-md px-3 py-2 text-sm', isActive && 'bg-brand text-white')}
        >
          <Icon size={16} /> {name}
        </NavLink>
      ))}
    </nav>
  );
}
`,
    'src/components/Button.tsx': `import { Slot } from '@radix-ui/react-slot';
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
`,
    'src/components/Card.tsx': `import type { ReactNode } from 'react';

export function Card({ title, children }: { title: string; children: ReactNode }) {
  return (
    <section className="rounded-xl border border-slate-200 bg-white p-4 shadow-sm">
      <h2 className="mb-3 text-sm font-semibold text-slate-500">{title}</h2>
      {children}
    </section>
  );
}
`,
    'src/components/Badge.tsx': `import { cva } from 'class-variance-authority';
import type { Row } from '@/lib/schema';

const badge = cva('rounded-full px-2 py-0.5 text-xs', {
  variants: {
    status: { open: 'bg-amber-100 text-amber-800', active: 'bg-sky-100 text-sky-800', done: 'bg-emerald-100 text-emerald-800' },
  },
});

export const Badge = ({ status }: Pick<Row, 'status'>) => <span className={badge({ status })}>{status}</span>;
`,
    'src/components/Input.tsx': `import type { ComponentProps } from 'react';
import { cn } from '@/lib/cn';

export function Input({ label, className, ...props }: ComponentProps<'input'> & { label: string }) {
  return (
    <label className="block text-sm">
      <span className="text-slate-500">{label}</span>
      <input className={cn('mt-1 w-full rounded-md border border-slate-300 px-2 py-1.5', className)} {...props} />
    </label>
  );
}
`,
    'src/components/Modal.tsx': `import * as Dialog from '@radix-ui/react-dialog';
import { X } from 'lucide-react';
import type { ReactNode } from 'react';
import { Button } from './Button';

export function Modal({ title, children }: { title: string; children: ReactNode }) {
  return (
    <Dialog.Root>
      <Dialog.Trigger asChild>
        <Button>{title}</Button>
      </Dialog.Trigger>
      <Dialog.Portal>
        <Dialog.Overlay className="fixed inset-0 bg-black/40" />
        <Dialog.Content className="fixed inset-x-4 top-24 mx-auto max-w-md rounded-xl bg-white p-6 shadow-xl" aria-describedby={undefined}>
          <Dialog.Title className="mb-4 font-semibold">{title}</Dialog.Title>
          {children}
          <Dialog.Close className="absolute top-4 right-4" aria-label="Close">
            <X size={16} />
          </Dialog.Close>
        </Dialog.Content>
      </Dialog.Portal>
    </Dialog.Root>
  );
}
`,
    'src/components/TabView.tsx': `import * as Tabs from '@radix-ui/react-tabs';
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
`,
    'src/components/Skeleton.tsx': `export function Skeleton({ lines }: { lines: number }) {
  return (
    <div className="animate-pulse space-y-2" aria-busy="true">
      {Array.from({ length: lines }, (_, line) => (
        <div key={line} className="h-4 rounded bg-slate-200" />
      ))}
    </div>
  );
}
`,
    'src/components/Empty.tsx': `import { Inbox } from 'lucide-react';

export function Empty({ text }: { text: string }) {
  return (
    <p className="flex flex-col items-center gap-2 py-12 text-slate-400">
      <Inbox /> {text}
    </p>
  );
}
`,
    'src/components/PageHeader.tsx': `import type { ReactNode } from 'react';
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
`,
    'src/components/Stat.tsx': `import { TrendingDown, TrendingUp } from 'lucide-react';

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
`,
    'src/components/Search.tsx': `import { usePreferences } from '@/lib/store';
import { Input } from './Input';

export function Search() {
  const { search, setSearch } = usePreferences();
  return <Input label="Search" value={search} onChange={(event) => setSearch(event.target.value)} />;
}
`,
    'src/components/Density.tsx': `import { Rows3, Rows4 } from 'lucide-react';
import { usePreferences } from '@/lib/store';
import { Button } from './Button';

export function Density() {
  const { compact, toggleCompact } = usePreferences();
  return (
    <Button kind="quiet" onClick={toggleCompact}>
      {compact ? <Rows3 size={14} /> : <Rows4 size={14} />} {compact ? 'Roomy' : 'Compact'}
    </Button>
  );
}
`,
  };
}

/** The four modules of one area. */
function area([id, name, icon, chart]) {
  const home = id === 'overview';
  return {
    [`src/areas/${id}/${name}Page.tsx`]: `import { ${icon} } from 'lucide-react';
import { Card } from '@/components/Card';
import { Modal } from '@/components/Modal';
import { PageHeader } from '@/components/PageHeader';
import { Search } from '@/components/Search';
import { Skeleton } from '@/components/Skeleton';
import { Stat } from '@/components/Stat';
import { TabView } from '@/components/TabView';
import { useRows } from '@/hooks/useRows';
import { useSearch } from '@/hooks/useSearch';
import { formatMoney } from '@/lib/format';
import { ${name}Chart } from './${name}Chart';
import { ${name}Form } from './${name}Form';
import { ${name}Table } from './${name}Table';

export function ${name}Page() {
  const { data = [], isPending } = useRows('${id}');
  const rows = useSearch(data);
  const total = rows.reduce((sum, row) => sum + row.amount, 0);
  if (isPending) return <Skeleton lines={8} />;
  return (
    <>
      <PageHeader title="${name}" note="${home ? 'edition 0' : `Everything about your ${id}`}">
        <Modal title="New entry">
          <${name}Form />
        </Modal>
      </PageHeader>
      <div className="grid grid-cols-1 gap-4 sm:grid-cols-3">
        <Stat name="Total" value={formatMoney(total)} change={4} />
        <Stat name="Entries" value={String(rows.length)} change={-2} />
        <Stat name="Done" value={String(rows.filter((row) => row.status === 'done').length)} change={9} />
      </div>
      <Card title="${name} by month">
        <${icon} className="mb-2 text-brand" size={18} />
        <${name}Chart rows={rows} />
      </Card>
      <TabView tabs={{ Table: <${name}Table rows={rows} />, Search: <Search /> }} />
    </>
  );
}
${home ? '' : `\nexport default ${name}Page;\n`}`,
    [`src/areas/${id}/${name}Chart.tsx`]: `import { ${[SERIES[chart], chart].sort().join(', ')}, CartesianGrid, ResponsiveContainer, Tooltip, XAxis, YAxis } from 'recharts';
import { useMonths } from '@/hooks/useMonths';
import type { Row } from '@/lib/schema';

export function ${name}Chart({ rows }: { rows: Row[] }) {
  return (
    <ResponsiveContainer width="100%" height={220}>
      <${chart} data={useMonths(rows)}>
        <CartesianGrid strokeDasharray="3 3" vertical={false} />
        <XAxis dataKey="month" />
        <YAxis width={48} />
        <Tooltip />
        <${SERIES[chart]} dataKey="total" stroke="#4f46e5" fill="${chart === 'LineChart' ? 'none' : '#818cf8'}" />
      </${chart}>
    </ResponsiveContainer>
  );
}
`,
    [`src/areas/${id}/${name}Table.tsx`]: `import { Badge } from '@/components/Badge';
import { Density } from '@/components/Density';
import { Empty } from '@/components/Empty';
import { cn } from '@/lib/cn';
import { formatDay, formatMoney } from '@/lib/format';
import type { Row } from '@/lib/schema';
import { usePreferences } from '@/lib/store';

export function ${name}Table({ rows }: { rows: Row[] }) {
  const compact = usePreferences((state) => state.compact);
  if (rows.length === 0) return <Empty text="No ${id} match" />;
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
`,
    [`src/areas/${id}/${name}Form.tsx`]: `import { Check } from 'lucide-react';
import { useForm } from 'react-hook-form';
import { Button } from '@/components/Button';
import { Input } from '@/components/Input';
import { rowSchema } from '@/lib/schema';

const formSchema = rowSchema.pick({ name: true });

export function ${name}Form() {
  const { register, handleSubmit, setError, formState } = useForm({ defaultValues: { name: '' } });
  const save = handleSubmit((values) => {
    const parsed = formSchema.safeParse(values);
    if (!parsed.success) setError('name', { message: 'A name, please' });
  });
  return (
    <form onSubmit={save} className="space-y-4">
      <Input label="Name of the ${id} entry" {...register('name')} />
      {formState.errors.name && <p className="text-sm text-red-600">{formState.errors.name.message}</p>}
      <Button type="submit">
        <Check size={14} /> Save
      </Button>
    </form>
  );
}
`,
  };
}

/** The areas for a wanted number: beyond those that have names, numbered copies. */
function areasFor(count) {
  return Array.from({ length: count }, (_, index) => {
    const [id, name, icon, chart] = AREAS[index % AREAS.length];
    const round = Math.floor(index / AREAS.length);
    return round === 0 ? [id, name, icon, chart] : [`${id}${round + 1}`, `${name}${round + 1}`, icon, chart];
  });
}

function main([target, flag, value]) {
  const count = flag === '--areas' ? Number(value) : AREAS.length;
  if (!target || !Number.isInteger(count) || count < 1 || (flag && flag !== '--areas')) {
    console.error('usage: node generate.mjs DIR [--areas N]');
    process.exit(2);
  }
  const areas = areasFor(count);
  const files = Object.assign(frame(areas), ...areas.map(area));
  write(target, files, import.meta.dirname);
}

main(process.argv.slice(2));

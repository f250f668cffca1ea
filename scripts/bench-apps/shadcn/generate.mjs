// Writes the shadcn-like app of the benchmarks into a folder: `node generate.mjs DIR`.
//
// Vite 5.4 with SWC, React 18, Tailwind 3 through PostCSS, 55 dependencies and about 130 modules of its own, 44 of which are interface
// components: what builders that start from a shadcn template make. All code is our own. The output is always the same.
//
// To measure an edit, change one of these texts, each of which occurs once: `edition 0` in src/areas/overview/OverviewPage.tsx, which is
// the start page, `styled 0` in src/index.css, `configured 0` in vite.config.ts, `added 0` in src/extras.tsx. A few interface components
// are used nowhere, so that an edit can be the first to import them: see UNUSED in scripts/benchmark/apps.py.

import { folderArgument, json, write } from '../write.mjs';
import { areaFiles, areas } from './areas.mjs';
import { uiFiles } from './ui.mjs';

const packageJson = {
  name: 'shadcn',
  private: true,
  version: '0.0.0',
  type: 'module',
  scripts: { dev: 'vite', build: 'vite build' },
  dependencies: {
    '@hookform/resolvers': '3.10.0',
    '@radix-ui/react-accordion': '1.3.1',
    '@radix-ui/react-alert-dialog': '1.2.1',
    '@radix-ui/react-aspect-ratio': '1.2.0',
    '@radix-ui/react-avatar': '1.3.1',
    '@radix-ui/react-checkbox': '1.4.1',
    '@radix-ui/react-collapsible': '1.2.1',
    '@radix-ui/react-context-menu': '2.4.1',
    '@radix-ui/react-dialog': '1.3.1',
    '@radix-ui/react-dropdown-menu': '2.2.1',
    '@radix-ui/react-hover-card': '1.2.1',
    '@radix-ui/react-label': '2.1.17',
    '@radix-ui/react-menubar': '1.2.1',
    '@radix-ui/react-navigation-menu': '1.4.1',
    '@radix-ui/react-popover': '1.3.1',
    '@radix-ui/react-progress': '1.2.1',
    '@radix-ui/react-radio-group': '1.5.1',
    '@radix-ui/react-scroll-area': '1.4.0',
    '@radix-ui/react-select': '2.4.1',
    '@radix-ui/react-separator': '1.2.0',
    '@radix-ui/react-slider': '1.6.1',
    '@radix-ui/react-slot': '1.5.0',
    '@radix-ui/react-switch': '1.4.1',
    '@radix-ui/react-tabs': '1.2.1',
    '@radix-ui/react-toast': '1.3.1',
    '@radix-ui/react-toggle': '1.2.1',
    '@radix-ui/react-toggle-group': '1.2.1',
    '@radix-ui/react-tooltip': '1.4.1',
    '@tanstack/react-query': '5.108.0',
    'class-variance-authority': '0.7.1',
    clsx: '2.1.1',
    cmdk: '1.1.1',
    'date-fns': '3.6.0',
    'embla-carousel-react': '8.6.0',
    'input-otp': '1.5.0',
    'lucide-react': '0.462.0',
    'next-themes': '0.3.0',
    react: '18.3.1',
    'react-day-picker': '8.10.2',
    'react-dom': '18.3.1',
    'react-hook-form': '7.92.0',
    'react-resizable-panels': '2.1.9',
    'react-router-dom': '6.30.6',
    recharts: '2.15.4',
    sonner: '1.7.4',
    'tailwind-merge': '2.6.1',
    'tailwindcss-animate': '1.0.7',
    vaul: '0.9.9',
    zod: '3.25.76',
  },
  devDependencies: {
    '@tailwindcss/typography': '0.5.20',
    '@vitejs/plugin-react-swc': '3.11.0',
    autoprefixer: '10.6.2',
    postcss: '8.5.33',
    tailwindcss: '3.4.19',
    vite: '5.4.21',
  },
};

const COLORS = ['background', 'foreground', 'card', 'card-foreground', 'popover', 'popover-foreground', 'primary', 'primary-foreground', 'secondary',
  'muted', 'muted-foreground', 'accent', 'destructive', 'destructive-foreground', 'border', 'input'];
const LIGHT = ['0 0% 100%', '224 30% 12%', '0 0% 100%', '224 30% 12%', '0 0% 100%', '224 30% 12%', '245 70% 55%', '0 0% 100%', '220 20% 94%',
  '220 20% 95%', '220 10% 45%', '220 25% 92%', '350 75% 50%', '0 0% 100%', '220 15% 88%', '220 15% 84%'];

const files = {
  'package.json': json(packageJson),
  'vite.config.ts': `import path from 'node:path';
import react from '@vitejs/plugin-react-swc';
import { defineConfig } from 'vite';

export default defineConfig({
  server: { host: '::', port: 8080 },
  plugins: [react()],
  define: { __NOTE__: JSON.stringify('configured 0') },
  resolve: { alias: { '@': path.resolve(__dirname, './src') } },
});
`,
  'postcss.config.js': `export default {
  plugins: { tailwindcss: {}, autoprefixer: {} },
};
`,
  'tailwind.config.ts': `import typography from '@tailwindcss/typography';
import animate from 'tailwindcss-animate';

const colors = ${JSON.stringify(COLORS)};

export default {
  darkMode: ['class'],
  content: ['./index.html', './src/**/*.{ts,tsx}'],
  theme: {
    container: { center: true, padding: '2rem' },
    extend: { colors: Object.fromEntries(colors.map((name) => [name, \`hsl(var(--\${name}) / <alpha-value>)\`])) },
  },
  plugins: [animate, typography],
};
`,
  'index.html': `<!doctype html>
<html lang="en">
  <head>
    <meta charset="UTF-8" />
    <meta name="viewport" content="width=device-width, initial-scale=1.0" />
    <link rel="icon" href="/favicon.svg" />
    <title>Workspace</title>
  </head>
  <body>
    <div id="root"></div>
    <script type="module" src="/src/main.tsx"></script>
  </body>
</html>
`,
  'public/favicon.svg': '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 8 8"><circle cx="4" cy="4" r="4" fill="#5b4be1"/></svg>\n',
  'src/index.css': `@tailwind base;
@tailwind components;
@tailwind utilities;

@layer base {
  :root {
    --edition: 'styled 0';
${COLORS.map((name, at) => `    --${name}: ${LIGHT[at]};`).join('\n')}
  }

  body {
    @apply bg-background text-foreground antialiased;
  }
}
`,
  'src/main.tsx': `import { createRoot } from 'react-dom/client';
import App from './App';
import './index.css';

createRoot(document.getElementById('root')!).render(<App />);
`,
  'src/App.tsx': `import { QueryClient, QueryClientProvider } from '@tanstack/react-query';
import { ThemeProvider } from 'next-themes';
import { BrowserRouter, Route, Routes } from 'react-router-dom';
import { Shell } from '@/components/Shell';
import { Toaster } from '@/components/ui/sonner';
import { TooltipProvider } from '@/components/ui/tooltip';
import NotFound from '@/components/NotFound';
${areas.map(({ id, name }) => `import ${name}Page from '@/areas/${id}/${name}Page';`).join('\n')}

const queryClient = new QueryClient();

export default function App() {
  return (
    <QueryClientProvider client={queryClient}>
      <ThemeProvider attribute="class" defaultTheme="light">
        <TooltipProvider>
          <Toaster />
          <BrowserRouter>
            <Routes>
              <Route element={<Shell />}>
${areas.map(({ to, name }) => `                <Route path="${to}" element={<${name}Page />} />`).join('\n')}
              </Route>
              <Route path="*" element={<NotFound />} />
            </Routes>
          </BrowserRouter>
        </TooltipProvider>
      </ThemeProvider>
    </QueryClientProvider>
  );
}
`,
  'src/extras.tsx': `export const Extras = () => <p className="text-xs">added 0</p>;
`,
  'src/components/Shell.tsx': `import { Outlet } from 'react-router-dom';
import { Extras } from '@/extras';
import { Palette } from './Palette';
import { Sidebar } from './Sidebar';
import { ThemeSwitch } from './ThemeSwitch';
import { UserMenu } from './UserMenu';

declare const __NOTE__: string;

export const Shell = () => (
  <div className="flex min-h-screen">
    <Sidebar />
    <main className="container flex-1 space-y-6 py-8">
      <div className="flex items-center justify-end gap-2">
        <Palette />
        <ThemeSwitch />
        <UserMenu />
      </div>
      <Outlet />
      <footer className="text-muted-foreground">
        <p className="text-xs">{__NOTE__}</p>
        <Extras />
      </footer>
    </main>
  </div>
);
`,
  'src/components/Sidebar.tsx': `import { NavLink } from 'react-router-dom';
import { ScrollArea, ScrollViewport } from '@/components/ui/scroll-area';
import { Separator } from '@/components/ui/separator';
import { Tooltip, TooltipContent, TooltipTrigger } from '@/components/ui/tooltip';
import { navigation } from '@/lib/navigation';
import { cn } from '@/lib/utils';

export const Sidebar = () => (
  <aside className="w-56 border-r bg-card p-3">
    <p className="px-3 py-2 text-lg font-semibold">Workspace</p>
    <Separator className="my-2" />
    <ScrollArea>
      <ScrollViewport>
        {navigation.map(({ to, name, icon: Icon }) => (
          <Tooltip key={to}>
            <TooltipTrigger asChild>
              <NavLink to={to} end className={({ isActive }) => cn('flex items-center gap-3 rounded-md px-3 py-2 text-sm', isActive && 'bg-accent font-medium')}>
                <Icon className="h-4 w-4" /> {name}
              </NavLink>
            </TooltipTrigger>
            <TooltipContent side="right">{name}</TooltipContent>
          </Tooltip>
        ))}
      </ScrollViewport>
    </ScrollArea>
  </aside>
);
`,
  'src/components/Palette.tsx': `import { Search } from 'lucide-react';
import { useNavigate } from 'react-router-dom';
import { Button } from '@/components/ui/button';
import { Command } from '@/components/ui/command';
import { Popover, PopoverContent, PopoverPortal, PopoverTrigger } from '@/components/ui/popover';
import { navigation } from '@/lib/navigation';

export function Palette() {
  const navigate = useNavigate();
  const go = (word: string) => navigate(navigation.find(({ name }) => name.toLowerCase() === word.toLowerCase())?.to ?? '/');
  return (
    <Popover>
      <PopoverTrigger asChild>
        <Button look="outline" size="sm">
          <Search className="h-4 w-4" /> Go to
        </Button>
      </PopoverTrigger>
      <PopoverPortal>
        <PopoverContent>
          <Command words={navigation.map(({ name }) => name)} onPick={go} />
        </PopoverContent>
      </PopoverPortal>
    </Popover>
  );
}
`,
  'src/components/ThemeSwitch.tsx': `import { Moon, Sun } from 'lucide-react';
import { useTheme } from 'next-themes';
import { Button } from '@/components/ui/button';

export function ThemeSwitch() {
  const { theme, setTheme } = useTheme();
  return (
    <Button look="ghost" size="icon" aria-label="Theme" onClick={() => setTheme(theme === 'dark' ? 'light' : 'dark')}>
      {theme === 'dark' ? <Sun className="h-4 w-4" /> : <Moon className="h-4 w-4" />}
    </Button>
  );
}
`,
  'src/components/UserMenu.tsx': `import { Avatar, AvatarFallback } from '@/components/ui/avatar';
import { DropdownMenu, DropdownMenuContent, DropdownMenuItem, DropdownMenuLabel, DropdownMenuPortal, DropdownMenuTrigger } from '@/components/ui/dropdown-menu';

export const UserMenu = () => (
  <DropdownMenu>
    <DropdownMenuTrigger>
      <Avatar>
        <AvatarFallback>PW</AvatarFallback>
      </Avatar>
    </DropdownMenuTrigger>
    <DropdownMenuPortal>
      <DropdownMenuContent>
        <DropdownMenuLabel>Signed in</DropdownMenuLabel>
        <DropdownMenuItem>Profile</DropdownMenuItem>
        <DropdownMenuItem>Sign out</DropdownMenuItem>
      </DropdownMenuContent>
    </DropdownMenuPortal>
  </DropdownMenu>
);
`,
  'src/components/NotFound.tsx': `import { Link } from 'react-router-dom';
import { Alert, AlertDescription, AlertTitle } from '@/components/ui/alert';

export default function NotFound() {
  return (
    <Alert className="m-8 max-w-md">
      <AlertTitle>There is no such page</AlertTitle>
      <AlertDescription>
        <Link to="/">Back to the start</Link>
      </AlertDescription>
    </Alert>
  );
}
`,
  'src/lib/utils.ts': `import { type ClassValue, clsx } from 'clsx';
import { twMerge } from 'tailwind-merge';

export const cn = (...inputs: ClassValue[]) => twMerge(clsx(inputs));
`,
  'src/lib/format.ts': `import { format } from 'date-fns';

const euros = new Intl.NumberFormat('en', { style: 'currency', currency: 'EUR', maximumFractionDigits: 0 });

export const money = (amount: number) => euros.format(amount);
export const day = (date: Date) => format(date, 'd MMM yyyy');
`,
  'src/lib/rows.ts': `import { addDays } from 'date-fns';

export interface Row {
  id: string;
  name: string;
  amount: number;
  open: boolean;
  since: Date;
}

const START = new Date(2026, 0, 5);

/** The same rows for the same area. */
export function makeRows(area: string, count: number): Row[] {
  return Array.from({ length: count }, (_, at) => {
    const number = (area.length * 7919 + at * 104_729) % 9_973;
    return { id: \`\${area}-\${at}\`, name: \`\${area} \${at + 1}\`, amount: number, open: number % 3 > 0, since: addDays(START, number % 330) };
  });
}
`,
  'src/lib/months.ts': `import { format } from 'date-fns';
import type { Row } from './rows';

export interface Month {
  month: string;
  total: number;
}

export function byMonth(rows: Row[]): Month[] {
  const months = new Map<string, number>();
  for (const row of [...rows].sort((a, b) => +a.since - +b.since)) {
    const month = format(row.since, 'MMM');
    months.set(month, (months.get(month) ?? 0) + row.amount);
  }
  return [...months].map(([month, total]) => ({ month, total }));
}
`,
  'src/lib/navigation.ts': `import { ${areas.map(({ icon }) => icon).sort().join(', ')} } from 'lucide-react';

export const navigation = [
${areas.map(({ to, name, icon }) => `  { to: '${to}', name: '${name}', icon: ${icon} },`).join('\n')}
];
`,
  ...uiFiles(),
  ...areaFiles(),
};

write(folderArgument(process.argv.slice(2)), files, import.meta.dirname);

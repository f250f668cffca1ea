// Writes the Vue app of the benchmarks into a folder: `node generate.mjs DIR`.
//
// Vite 7, Vue 3, vue-router, Pinia, 21 single-file components with scoped styles: a small shop. All code is our own. The output is
// always the same.
//
// To measure an edit, change one of these texts, each of which occurs once: `edition 0` in src/pages/HomePage.vue, which is the start
// page, `styled 0` in src/main.css, `configured 0` in vite.config.ts, `added 0` in src/Extras.vue.

import { folderArgument, json, write } from '../write.mjs';

const packageJson = {
  name: 'vue-app',
  private: true,
  version: '0.0.0',
  type: 'module',
  scripts: { dev: 'vite', build: 'vite build' },
  dependencies: {
    '@vueuse/core': '14.4.0',
    'date-fns': '4.4.0',
    pinia: '3.0.4',
    vue: '3.5.45',
    'vue-router': '4.6.5',
  },
  devDependencies: {
    '@vitejs/plugin-vue': '6.0.11',
    vite: '7.3.8',
  },
};

/** Groups of goods; each has a page, a teaser and a filter of its own. */
const GROUPS = [
  ['plants', 'Plants', '#2f855a'],
  ['pots', 'Pots', '#b7791f'],
  ['tools', 'Tools', '#2b6cb0'],
  ['seeds', 'Seeds', '#c05621'],
];

const sfc = (script, template, style = '') => `${script && `<script setup lang="ts">
${script.trim()}
</script>

`}<template>
${template.trim().replace(/^/gm, '  ')}
</template>
${style && `
<style scoped>
${style.trim()}
</style>
`}`;

const files = {
  'package.json': json(packageJson),
  'vite.config.ts': `import { fileURLToPath, URL } from 'node:url';
import vue from '@vitejs/plugin-vue';
import { defineConfig } from 'vite';

export default defineConfig({
  plugins: [vue()],
  define: { __NOTE__: JSON.stringify('configured 0') },
  resolve: { alias: { '@': fileURLToPath(new URL('./src', import.meta.url)) } },
});
`,
  'index.html': `<!doctype html>
<html lang="en">
  <head>
    <meta charset="utf-8">
    <meta name="viewport" content="width=device-width, initial-scale=1">
    <link rel="icon" href="/favicon.svg">
    <title>Greenhouse</title>
  </head>
  <body>
    <div id="app"></div>
    <script type="module" src="/src/main.ts"></script>
  </body>
</html>
`,
  'public/favicon.svg': '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 8 8"><path d="M4 0l4 8H0z" fill="#2f855a"/></svg>\n',
  'src/main.css': `:root {
  --edition: 'styled 0';
  --ink: #1a202c;
  --paper: #fffdf8;
  --line: #e2e8f0;
}

body {
  margin: 0;
  background: var(--paper);
  color: var(--ink);
  font-family: system-ui, sans-serif;
}
`,
  'src/main.ts': `import { createPinia } from 'pinia';
import { createApp } from 'vue';
import App from './App.vue';
import './main.css';
import { router } from './router';

createApp(App).use(createPinia()).use(router).mount('#app');
`,
  'src/router.ts': `import { createRouter, createWebHistory } from 'vue-router';
import HomePage from '@/pages/HomePage.vue';

export const router = createRouter({
  history: createWebHistory(import.meta.env.BASE_URL),
  routes: [
    { path: '/', component: HomePage },
${GROUPS.map(([id, name]) => `    { path: '/${id}', component: () => import('@/pages/${name}Page.vue') },`).join('\n')}
    { path: '/cart', component: () => import('@/pages/CartPage.vue') },
    { path: '/:rest(.*)*', component: () => import('@/pages/MissingPage.vue') },
  ],
});
`,
  'src/lib/goods.ts': `import { addDays } from 'date-fns';

export interface Good {
  id: string;
  group: string;
  name: string;
  price: number;
  since: Date;
}

const START = new Date(2026, 0, 5);

/** The same goods for the same group. */
export function goodsOf(group: string): Good[] {
  return Array.from({ length: 12 }, (_, at) => {
    const number = (group.length * 811 + at * 977) % 449;
    return { id: \`\${group}-\${at}\`, group, name: \`\${group} \${at + 1}\`, price: number / 10 + 2, since: addDays(START, number) };
  });
}
`,
  'src/lib/format.ts': `import { format } from 'date-fns';

const euros = new Intl.NumberFormat('en', { style: 'currency', currency: 'EUR' });

export const money = (amount: number) => euros.format(amount);
export const day = (date: Date) => format(date, 'd MMM yyyy');
`,
  'src/stores/cart.ts': `import { defineStore } from 'pinia';
import { computed, ref } from 'vue';
import type { Good } from '@/lib/goods';

export const useCart = defineStore('cart', () => {
  const goods = ref<Good[]>([]);
  const total = computed(() => goods.value.reduce((sum, good) => sum + good.price, 0));
  const add = (good: Good) => goods.value.push(good);
  const remove = (id: string) => {
    goods.value = goods.value.filter((good) => good.id !== id);
  };
  return { goods, total, add, remove };
});
`,
  'src/stores/view.ts': `import { useStorage } from '@vueuse/core';
import { defineStore } from 'pinia';

export const useView = defineStore('view', () => ({ dense: useStorage('dense', false), search: useStorage('search', '') }));
`,
  'src/composables/useGoods.ts': `import { useDebounce } from '@vueuse/core';
import { storeToRefs } from 'pinia';
import { computed } from 'vue';
import { goodsOf } from '@/lib/goods';
import { useView } from '@/stores/view';

export function useGoods(group: string) {
  const { search } = storeToRefs(useView());
  const wanted = useDebounce(search, 100);
  return computed(() => goodsOf(group).filter((good) => good.name.includes(wanted.value)));
}
`,
  'src/Extras.vue': sfc('', '<p class="extras">added 0</p>'),
  'src/App.vue': sfc(`
import Extras from './Extras.vue';
import SiteFooter from './components/SiteFooter.vue';
import SiteHeader from './components/SiteHeader.vue';

const note = __NOTE__;
declare const __NOTE__: string;
`, `
<SiteHeader />
<main><RouterView /></main>
<SiteFooter>{{ note }} <Extras /></SiteFooter>
`, `
main {
  max-width: 60rem;
  margin: 0 auto;
  padding: 1.5rem;
}
`),
  'src/components/SiteHeader.vue': sfc(`
import { useCart } from '@/stores/cart';
import CartBadge from './CartBadge.vue';

const cart = useCart();
const links = ${JSON.stringify(GROUPS.map(([id, name]) => ({ to: `/${id}`, name })))};
`, `
<header>
  <RouterLink to="/" class="brand">Greenhouse</RouterLink>
  <RouterLink v-for="link in links" :key="link.to" :to="link.to">{{ link.name }}</RouterLink>
  <CartBadge :count="cart.goods.length" />
</header>
`, `
header {
  display: flex;
  gap: 1rem;
  padding: 1rem 1.5rem;
  border-bottom: 1px solid var(--line);
}

.brand {
  font-weight: 700;
}
`),
  'src/components/SiteFooter.vue': sfc('', '<footer><slot /></footer>', `
footer {
  padding: 2rem 1.5rem;
  color: #718096;
  font-size: 0.8rem;
}
`),
  'src/components/CartBadge.vue': sfc('defineProps<{ count: number }>();', '<RouterLink to="/cart" class="badge">Cart ({{ count }})</RouterLink>', `
.badge {
  margin-left: auto;
}
`),
  'src/components/GoodCard.vue': sfc(`
import { day, money } from '@/lib/format';
import type { Good } from '@/lib/goods';
import { useCart } from '@/stores/cart';
import PlainButton from './PlainButton.vue';

defineProps<{ good: Good; color: string }>();
const cart = useCart();
`, `
<article>
  <h3>{{ good.name }}</h3>
  <p>{{ money(good.price) }} · since {{ day(good.since) }}</p>
  <PlainButton @press="cart.add(good)">Add</PlainButton>
</article>
`, `
article {
  padding: 1rem;
  border: 1px solid var(--line);
  border-left: 4px solid v-bind(color);
  border-radius: 0.5rem;
}
`),
  'src/components/PlainButton.vue': sfc('defineEmits<{ press: [] }>();', '<button type="button" @click="$emit(\'press\')"><slot /></button>', `
button {
  padding: 0.3rem 0.8rem;
  border: 0;
  border-radius: 0.3rem;
  background: var(--ink);
  color: var(--paper);
}
`),
  'src/components/SearchField.vue': sfc(`
import { useView } from '@/stores/view';

const view = useView();
`, '<input v-model="view.search" type="search" placeholder="Search">', `
input {
  padding: 0.4rem 0.6rem;
  border: 1px solid var(--line);
}
`),
  'src/components/DenseSwitch.vue': sfc(`
import { useView } from '@/stores/view';

const view = useView();
`, '<label><input v-model="view.dense" type="checkbox"> Dense</label>', `
label {
  margin-left: 1rem;
}
`),
  'src/components/GoodGrid.vue': sfc(`
import type { Good } from '@/lib/goods';
import { useView } from '@/stores/view';
import GoodCard from './GoodCard.vue';

defineProps<{ goods: Good[]; color: string }>();
const view = useView();
`, `
<TransitionGroup name="fade" tag="div" class="grid" :class="{ dense: view.dense }">
  <GoodCard v-for="good in goods" :key="good.id" :good="good" :color="color" />
</TransitionGroup>
`, `
.grid {
  display: grid;
  grid-template-columns: repeat(auto-fill, minmax(14rem, 1fr));
  gap: 1rem;
}

.dense {
  gap: 0.3rem;
}

.fade-enter-from {
  opacity: 0;
}
`),
  'src/pages/HomePage.vue': sfc(`
${GROUPS.map(([, name]) => `import ${name}Teaser from '@/components/${name}Teaser.vue';`).join('\n')}
`, `
<h1>Greenhouse</h1>
<p class="note">edition 0</p>
${GROUPS.map(([, name]) => `<${name}Teaser />`).join('\n')}
`, `
.note {
  color: #718096;
}
`),
  'src/pages/CartPage.vue': sfc(`
import PlainButton from '@/components/PlainButton.vue';
import { money } from '@/lib/format';
import { useCart } from '@/stores/cart';

const cart = useCart();
`, `
<h1>Cart</h1>
<ul>
  <li v-for="good in cart.goods" :key="good.id">{{ good.name }} <PlainButton @press="cart.remove(good.id)">Remove</PlainButton></li>
</ul>
<p>Together {{ money(cart.total) }}</p>
`, `
li {
  margin: 0.5rem 0;
}
`),
  'src/pages/MissingPage.vue': sfc('', '<p>There is no such page. <RouterLink to="/">Back to the start</RouterLink></p>'),
  ...Object.fromEntries(GROUPS.flatMap(([id, name, color]) => [
    [`src/pages/${name}Page.vue`, sfc(`
import DenseSwitch from '@/components/DenseSwitch.vue';
import GoodGrid from '@/components/GoodGrid.vue';
import SearchField from '@/components/SearchField.vue';
import { useGoods } from '@/composables/useGoods';

const goods = useGoods('${id}');
`, `
<h1>${name}</h1>
<SearchField /><DenseSwitch />
<GoodGrid :goods="goods" color="${color}" />
`, `
h1 {
  color: ${color};
}
`)],
    [`src/components/${name}Teaser.vue`, sfc(`
import { computed } from 'vue';
import { money } from '@/lib/format';
import { goodsOf } from '@/lib/goods';

const cheapest = computed(() => goodsOf('${id}').reduce((a, b) => (a.price < b.price ? a : b)));
`, `
<RouterLink to="/${id}" class="teaser">${name} from {{ money(cheapest.price) }}</RouterLink>
`, `
.teaser {
  display: block;
  margin: 1rem 0;
  padding: 1rem;
  border-radius: 0.5rem;
  background: ${color};
  color: white;
}
`)],
  ])),
};

write(folderArgument(process.argv.slice(2)), files, import.meta.dirname);
